package org.sparkpeft.core.model;

import java.util.List;

/** Images of one size, as a model reads them. Plain Java; labels are kept apart. */
public final class PixelBatch implements ModelInput {
  private final List<float[]> images;
  private final int channels;
  private final int imageHeight;
  private final int imageWidth;
  private final int[] tasks;

  private PixelBatch(
      List<float[]> images, int channels, int imageHeight, int imageWidth, int[] tasks) {
    this.images = images;
    this.channels = channels;
    this.imageHeight = imageHeight;
    this.imageWidth = imageWidth;
    this.tasks = tasks;
  }

  /**
   * Images whose values are normalised already.
   *
   * @param images each {@code [channels, height, width]}, row-major; copied
   * @throws IllegalArgumentException if there is none, a size is below 1, or an image has another
   *     number of values
   */
  public static PixelBatch of(List<float[]> images, int channels, int height, int width) {
    long values = ValueRows.product("an image", channels, height, width);
    return new PixelBatch(
        ValueRows.copied("image", images, values), channels, height, width, new int[images.size()]);
  }

  /**
   * The same images with each example's task.
   *
   * @param numbers one for each example, from 0
   */
  public PixelBatch withTasks(int[] numbers) {
    ValueRows.requireTasks(numbers, size());
    return new PixelBatch(images, channels, imageHeight, imageWidth, numbers.clone());
  }

  @Override
  public int size() {
    return images.size();
  }

  /** 0: the model decides how many positions an image has. */
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

  public int channels() {
    return channels;
  }

  /** Pixels from top to bottom. */
  public int imageHeight() {
    return imageHeight;
  }

  /** Pixels from left to right. */
  public int imageWidth() {
    return imageWidth;
  }

  /** The images, each {@code [channels, height, width]}; must not be changed. */
  List<float[]> images() {
    return images;
  }

  /** {@code channels x height x width}, for messages. */
  String shape() {
    return channels + " x " + imageHeight + " x " + imageWidth;
  }
}
