package org.sparkpeft.core.nn;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.Shape;

/** Convolutions over time. */
public final class Convolution {
  private Convolution() {}

  /** Windows that fit into {@code length} positions. */
  public static int windows(int length, int size, int stride) {
    return length < size ? 0 : (length - size) / stride + 1;
  }

  /**
   * The windows that a convolution without padding sees; it then is a linear layer over each.
   *
   * @param x {@code [batch, time, channels]}
   * @return {@code [batch, windows, channels * size]}, channel after channel
   */
  public static NDArray unfold(NDArray x, int size, int stride) {
    Shape shape = x.getShape();
    int windows = windows((int) shape.get(1), size, stride);
    NDList taps = new NDList(); // each [batch, windows, channels]
    for (int tap = 0; tap < size; tap++) {
      long end = tap + (long) (windows - 1) * stride + 1;
      taps.add(x.get(new NDIndex(":, {}:{}:{}", tap, end, stride)));
    }
    return NDArrays.stack(taps, 3).reshape(shape.get(0), windows, shape.get(2) * size);
  }

  /**
   * A convolution in groups of channels, with as many zeros on both sides as half its size.
   *
   * @param x {@code [batch, time, channels]}
   * @param weight {@code [out, channels / groups, size]}
   * @param bias {@code [out]}
   * @return {@code [batch, time, out]}, one position more where the size is even
   */
  public static NDArray grouped(NDArray x, NDArray weight, NDArray bias, int groups) {
    long size = weight.getShape().get(2);
    return x.getNDArrayInternal()
        .convolution(
            x.transpose(0, 2, 1),
            weight,
            bias,
            new Shape(1),
            new Shape(size / 2),
            new Shape(1),
            groups)
        .singletonOrThrow()
        .transpose(0, 2, 1);
  }
}
