package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;

/**
 * How a Swin block cuts its tokens into windows. A shifted block first moves the grid up and to the
 * left, round the border; tokens that only came together that way do not see each other.
 *
 * @param height tokens from top to bottom
 * @param width tokens from left to right
 * @param size tokens of a window in both directions; at most {@code height} and {@code width}
 * @param shift tokens by which the grid moves
 */
record SwinWindows(int height, int width, int size, int shift) {
  /** What the reference adds to the scores of tokens that must not see each other. */
  private static final float APART = -100;

  /** Tokens of a window. */
  int tokens() {
    return size * size;
  }

  private int paddedHeight() {
    return padded(height);
  }

  private int paddedWidth() {
    return padded(width);
  }

  private int padded(int length) {
    return (length + size - 1) / size * size;
  }

  private int count() {
    return paddedHeight() / size * (paddedWidth() / size);
  }

  /**
   * @param x {@code [batch, height * width, hidden]}
   * @return {@code [batch * windows, tokens, hidden]}; zeros fill the last row and column of
   *     windows
   */
  NDArray split(NDArray x) {
    long batch = x.getShape().get(0);
    long hidden = x.getShape().get(2);
    NDArray grid = x.reshape(batch, height, width, hidden);
    grid = padded(padded(grid, 1, paddedHeight()), 2, paddedWidth());
    grid = rolled(rolled(grid, 1, shift), 2, shift);
    return grid.reshape(batch, paddedHeight() / size, size, paddedWidth() / size, size, hidden)
        .transpose(0, 1, 3, 2, 4, 5)
        .reshape(batch * count(), tokens(), hidden);
  }

  /** The reverse of {@link #split}. */
  NDArray join(NDArray windows) {
    long batch = windows.getShape().get(0) / count();
    long hidden = windows.getShape().get(2);
    NDArray grid =
        windows
            .reshape(batch, paddedHeight() / size, paddedWidth() / size, size, size, hidden)
            .transpose(0, 1, 3, 2, 4, 5)
            .reshape(batch, paddedHeight(), paddedWidth(), hidden);
    grid = rolled(rolled(grid, 1, paddedHeight() - shift), 2, paddedWidth() - shift);
    return cut(cut(grid, 1, height), 2, width).reshape(batch, (long) height * width, hidden);
  }

  private static NDArray padded(NDArray grid, int axis, int length) {
    Shape shape = grid.getShape();
    long missing = length - shape.get(axis);
    if (missing == 0) {
      return grid;
    }
    long[] sizes = shape.getShape();
    sizes[axis] = missing;
    return grid.concat(grid.getManager().zeros(new Shape(sizes)), axis);
  }

  private static NDArray cut(NDArray grid, int axis, int length) {
    return grid.getShape().get(axis) == length
        ? grid
        : grid.split(new long[] {length}, axis).get(0);
  }

  /** Moves the first {@code by} entries of an axis behind the others. */
  private static NDArray rolled(NDArray grid, int axis, int by) {
    if (by % grid.getShape().get(axis) == 0) {
      return grid;
    }
    NDList parts = grid.split(new long[] {by}, axis);
    return NDArrays.concat(new NDList(parts.get(1), parts.get(0)), axis);
  }

  /**
   * What is added to the scores of a shifted block, {@code [batch * windows, 1, tokens, tokens]}.
   */
  NDArray mask(NDManager step, int batch) {
    int[] regions = regions();
    int tokens = tokens();
    float[] mask = new float[batch * count() * tokens * tokens];
    int at = 0;
    for (int example = 0; example < batch; example++) {
      for (int window = 0; window < count(); window++) {
        for (int i = 0; i < tokens * tokens; i++) {
          int one = regions[window * tokens + i / tokens];
          int other = regions[window * tokens + i % tokens];
          mask[at++] = one == other ? 0 : APART;
        }
      }
    }
    return step.create(mask, new Shape((long) batch * count(), 1, tokens, tokens));
  }

  /** For each token of each window, which part of the moved grid it comes from. */
  private int[] regions() {
    int[] regions = new int[count() * tokens()];
    int across = paddedWidth() / size;
    for (int y = 0; y < paddedHeight(); y++) {
      for (int x = 0; x < paddedWidth(); x++) {
        int window = y / size * across + x / size;
        int token = y % size * size + x % size;
        regions[window * tokens() + token] =
            3 * region(y, paddedHeight()) + region(x, paddedWidth());
      }
    }
    return regions;
  }

  private int region(int at, int length) {
    if (at < length - size) {
      return 0;
    }
    return at < length - shift ? 1 : 2;
  }

  /** For each pair of a window's tokens, the row of the table of relative positions. */
  static int[] relativePositions(int size) {
    int tokens = size * size;
    int[] rows = new int[tokens * tokens];
    for (int i = 0; i < rows.length; i++) {
      int query = i / tokens;
      int key = i % tokens;
      int down = query / size - key / size + size - 1;
      int right = query % size - key % size + size - 1;
      rows[i] = down * (2 * size - 1) + right;
    }
    return rows;
  }
}
