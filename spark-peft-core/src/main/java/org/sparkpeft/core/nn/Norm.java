package org.sparkpeft.core.nn;

import ai.djl.ndarray.NDArray;
import org.jspecify.annotations.Nullable;

/** A normalisation with a trained weight for each entry of the last axis. */
public sealed interface Norm permits LayerNorm, RmsNorm, TimeNorm {

  /** Hugging Face's path of the module. */
  String path();

  /** {@code [size]}. */
  NDArray weight();

  /** {@code [size]}, or null where the norm has none. */
  @Nullable NDArray bias();

  /** Same norm with other tensors; a bias is ignored where the norm has none. */
  Norm with(NDArray weight, @Nullable NDArray bias);

  /**
   * @param x {@code [..., size]}
   * @return shaped as {@code x}
   */
  NDArray apply(NDArray x);
}
