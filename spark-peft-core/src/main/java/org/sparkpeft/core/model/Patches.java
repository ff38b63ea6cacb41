package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.List;

/**
 * Square pieces of an image in rows from the top left, as a convolution without padding sees them.
 * The convolution then is a linear layer over each piece. Nothing needs the gradient of an image,
 * so pieces are cut in plain Java.
 *
 * @param channels channels of an image
 * @param height its pixels from top to bottom
 * @param width its pixels from left to right
 * @param size pixels of a piece in both directions
 * @param strideDown pixels from a piece to the one below
 * @param strideRight pixels from a piece to the one beside it; pieces overlap where that is fewer
 *     than {@code size}
 */
record Patches(int channels, int height, int width, int size, int strideDown, int strideRight) {

  /** Pieces that lie side by side. */
  static Patches tiles(int channels, int height, int width, int size) {
    return new Patches(channels, height, width, size, size, size);
  }

  /** Pieces from top to bottom. */
  int down() {
    return height < size ? 0 : (height - size) / strideDown + 1;
  }

  /** Pieces from left to right. */
  int right() {
    return width < size ? 0 : (width - size) / strideRight + 1;
  }

  int count() {
    return Math.multiplyExact(down(), right());
  }

  /** Numbers in a piece. */
  int values() {
    return Math.multiplyExact(channels, Math.multiplyExact(size, size));
  }

  /** The shape of a convolution's weights over such pieces. */
  List<Integer> kernel(int out) {
    return List.of(out, channels, size, size);
  }

  /**
   * The pieces of some images.
   *
   * @param images each {@code [channels, height, width]}
   * @return {@code [batch, count, values]}; a piece is {@code [channels, size, size]}
   */
  NDArray of(NDManager step, List<float[]> images) {
    int each = Math.multiplyExact(count(), values());
    float[] flat = new float[Math.multiplyExact(each, images.size())];
    int at = 0;
    for (float[] image : images) {
      for (int y = 0; y < down(); y++) {
        for (int x = 0; x < right(); x++) {
          at = cut(image, y * strideDown, x * strideRight, flat, at);
        }
      }
    }
    return step.create(flat, new Shape(images.size(), count(), values()));
  }

  private int cut(float[] image, int top, int left, float[] into, int start) {
    int at = start;
    for (int channel = 0; channel < channels; channel++) {
      for (int row = 0; row < size; row++) {
        int from = (channel * height + top + row) * width + left;
        System.arraycopy(image, from, into, at, size);
        at += size;
      }
    }
    return at;
  }
}
