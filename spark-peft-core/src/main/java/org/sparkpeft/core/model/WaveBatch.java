package org.sparkpeft.core.model;

import java.util.ArrayList;
import java.util.List;

/** Recordings as samples, padded by zeros to the longest. Plain Java; labels are kept apart. */
public final class WaveBatch implements ModelInput {
  private final List<float[]> waves;
  private final int samples;
  private final int[] tasks;

  private WaveBatch(List<float[]> waves, int samples, int[] tasks) {
    this.waves = waves;
    this.samples = samples;
    this.tasks = tasks;
  }

  /**
   * @param waves the samples of each recording, normalised already; copied
   * @throws IllegalArgumentException if there is no recording, or one is empty
   */
  public static WaveBatch of(List<float[]> waves) {
    if (waves.isEmpty()) {
      throw new IllegalArgumentException("a batch needs at least one recording");
    }
    List<float[]> copies = new ArrayList<>();
    int longest = 0;
    for (float[] wave : waves) {
      if (wave.length == 0) {
        throw new IllegalArgumentException("recording " + copies.size() + " has no samples");
      }
      longest = Math.max(longest, wave.length);
      copies.add(wave.clone());
    }
    return new WaveBatch(copies, longest, new int[copies.size()]);
  }

  /**
   * The same recordings with each example's task.
   *
   * @param numbers one for each example, from 0
   */
  public WaveBatch withTasks(int[] numbers) {
    ValueRows.requireTasks(numbers, size());
    return new WaveBatch(waves, samples, numbers.clone());
  }

  @Override
  public int size() {
    return waves.size();
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
    return waves.stream().anyMatch(wave -> wave.length < samples);
  }

  @Override
  public int task(int row) {
    return tasks[row];
  }

  /** Samples of the longest recording. */
  public int samples() {
    return samples;
  }

  /** Samples of recording {@code row} without padding. */
  public int samples(int row) {
    return waves.get(row).length;
  }

  /** All recordings with padding, {@code [batch, samples]}. */
  float[] flat() {
    float[] flat = new float[Math.multiplyExact(size(), samples)];
    for (int row = 0; row < size(); row++) {
      System.arraycopy(waves.get(row), 0, flat, row * samples, samples(row));
    }
    return flat;
  }
}
