package org.sparkpeft.core.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;

/**
 * Multiplication by a number, safe to differentiate. DJL's own {@code mul(Number)} and {@code
 * div(Number)} put the number into a tensor over a Java buffer and close it at once, while the
 * recorded graph still points to the buffer: when the garbage collector frees it before the
 * backward pass, gradients are garbage.
 */
public final class Scalars {
  private Scalars() {}

  /** {@code factor * x}; the engine owns the factor and keeps it while it is needed. */
  public static NDArray times(NDArray x, float factor) {
    return x.mul(x.getManager().full(new Shape(), factor, DataType.FLOAT32));
  }
}
