package org.sparkpeft.core.nn;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.engine.HalfTensor;
import org.sparkpeft.core.engine.Nf4Tensor;

/**
 * A matrix of numbers that a layer multiplies with or looks rows up in, {@code [out, in]}, however
 * many bits they have. Inputs, biases and results are float32. Only one in float32 is
 * differentiable itself, where it was computed from what is.
 */
public sealed interface Weight {

  /**
   * {@code x Wt + b}.
   *
   * @param x {@code [..., in]}
   * @param bias {@code [out]}
   * @return {@code [..., out]}, owned by {@code x}'s manager
   */
  NDArray apply(NDArray x, @Nullable NDArray bias);

  /**
   * Rows of the matrix.
   *
   * @param ids integers {@code [...]}
   * @return {@code [..., in]}, owned by {@code ids}' manager
   */
  NDArray rows(NDArray ids);

  /**
   * The matrix in float32 {@code [out, in]}, to be read: it may be the model's own.
   *
   * @param step owner of what has to be made
   */
  NDArray full(NDManager step);

  /** Bytes of the engine's memory that it takes. */
  long bytes();

  static Weight of(NDArray tensor) {
    return new Full(tensor);
  }

  /** In float32. */
  record Full(NDArray tensor) implements Weight {
    @Override
    public NDArray apply(NDArray x, @Nullable NDArray bias) {
      return Linear.of(x, tensor, bias);
    }

    @Override
    public NDArray rows(NDArray ids) {
      return Embedding.of(ids, tensor);
    }

    @Override
    public NDArray full(NDManager step) {
      return tensor;
    }

    @Override
    public long bytes() {
      return 4 * tensor.size();
    }
  }

  /** In 16 bits. */
  record Half(HalfTensor tensor) implements Weight {
    @Override
    public NDArray apply(NDArray x, @Nullable NDArray bias) {
      return tensor.linear(x, bias);
    }

    @Override
    public NDArray rows(NDArray ids) {
      return tensor.rows(ids);
    }

    @Override
    public NDArray full(NDManager step) {
      return tensor.widened(step);
    }

    @Override
    public long bytes() {
      return tensor.bytes();
    }
  }

  /** In 4 bits. */
  record Packed(Nf4Tensor tensor) implements Weight {
    @Override
    public NDArray apply(NDArray x, @Nullable NDArray bias) {
      return tensor.linear(x, bias);
    }

    @Override
    public NDArray rows(NDArray ids) {
      return Embedding.of(ids, full(ids.getManager()));
    }

    @Override
    public NDArray full(NDManager step) {
      return tensor.unpacked(step);
    }

    @Override
    public long bytes() {
      return tensor.bytes();
    }
  }
}
