package org.sparkpeft.core.peft.sparse;

import ai.djl.ndarray.NDArray;
import org.sparkpeft.core.engine.Scalars;

/**
 * The orthogonal factor {@code U Vt} of {@code X = U S Vt}: the gradient of the nuclear norm. By
 * Newton-Schulz iterations {@code X <- 1.5 X - 0.5 X Xt X} from {@code X / |X|}, which send every
 * singular value above about a hundredth of the Frobenius norm to 1; smaller ones stay below.
 */
final class PolarFactor {
  private static final int ITERATIONS = 18;

  private PolarFactor() {}

  /**
   * @param x {@code [m, n]}, not differentiated
   * @return {@code [m, n]}
   */
  static NDArray of(NDArray x) {
    NDArray factor = x.div(x.square().sum().sqrt().maximum(x.getManager().create(1e-20f)));
    for (int i = 0; i < ITERATIONS; i++) {
      NDArray cubic = factor.matMul(factor.transpose()).matMul(factor); // [m, n]
      factor = Scalars.times(factor, 1.5f).sub(Scalars.times(cubic, 0.5f));
    }
    return factor;
  }
}
