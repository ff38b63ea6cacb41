package org.sparkpeft.core.model;

import java.util.List;

/**
 * Recordings as rows of features, such as the log-mel spectra of successive windows; all of one
 * length. Plain Java; labels are kept apart.
 */
public final class FrameBatch implements ModelInput {
  private final List<float[]> recordings;
  private final int frames;
  private final int features;
  private final int[] tasks;

  private FrameBatch(List<float[]> recordings, int frames, int features, int[] tasks) {
    this.recordings = recordings;
    this.frames = frames;
    this.features = features;
    this.tasks = tasks;
  }

  /**
   * Recordings whose values are normalised already.
   *
   * @param recordings each {@code [frames, features]}, row-major; copied
   * @throws IllegalArgumentException if there is none, a size is below 1, or a recording has
   *     another number of values
   */
  public static FrameBatch of(List<float[]> recordings, int frames, int features) {
    long values = ValueRows.product("a recording", frames, features);
    return new FrameBatch(
        ValueRows.copied("recording", recordings, values),
        frames,
        features,
        new int[recordings.size()]);
  }

  /**
   * The same recordings with each example's task.
   *
   * @param numbers one for each example, from 0
   */
  public FrameBatch withTasks(int[] numbers) {
    ValueRows.requireTasks(numbers, size());
    return new FrameBatch(recordings, frames, features, numbers.clone());
  }

  @Override
  public int size() {
    return recordings.size();
  }

  /** 0: the model decides how many positions a recording has. */
  @Override
  public int width() {
    return 0;
  }

  /** 0, as {@link #width}. */
  @Override
  public int length(int row) {
    return 0;
  }

  @Override
  public boolean isPadded() {
    return false;
  }

  @Override
  public int task(int row) {
    return tasks[row];
  }

  public int frames() {
    return frames;
  }

  public int features() {
    return features;
  }

  /** All recordings one after another, {@code [batch, frames, features]}. */
  float[] flat() {
    int each = frames * features;
    float[] flat = new float[Math.multiplyExact(each, size())];
    for (int i = 0; i < size(); i++) {
      System.arraycopy(recordings.get(i), 0, flat, i * each, each);
    }
    return flat;
  }

  /** Each recording as an image of one channel, {@code [features, frames]}. */
  List<float[]> images() {
    return recordings.stream()
        .map(values -> FrozenLayers.transposed(values, frames, features))
        .toList();
  }

  /** {@code frames x features}, for messages. */
  String shape() {
    return frames + " x " + features;
  }
}
