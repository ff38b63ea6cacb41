package org.sparkpeft.core.peft.allocation;

import ai.djl.ndarray.NDArray;
import org.sparkpeft.core.nn.Linear;

/** What methods of the form {@code B diag(e) A} share. */
final class LowRank {
  private LowRank() {}

  /**
   * {@code B diag(e) A x}.
   *
   * @param x {@code [..., in]}
   * @param a {@code [r, in]}
   * @param e {@code [r]}
   * @param b {@code [out, r]}
   * @return {@code [..., out]}
   */
  static NDArray delta(NDArray x, NDArray a, NDArray e, NDArray b) {
    return Linear.of(Linear.of(x, a, null).mul(e), b, null);
  }

  /** {@code weight + B diag(e) A}, row-major {@code [out, in]}, in place. */
  static void addProduct(float[] weight, float[] a, float[] e, float[] b) {
    int r = e.length;
    int in = a.length / r;
    int out = b.length / r;
    for (int o = 0; o < out; o++) {
      for (int q = 0; q < r; q++) {
        float factor = b[o * r + q] * e[q];
        if (factor != 0) {
          for (int i = 0; i < in; i++) {
            weight[o * in + i] += factor * a[q * in + i];
          }
        }
      }
    }
  }

  /**
   * Frobenius norm of {@code P Pt - I}: how far the rows of {@code P [r, n]} are from orthonormal.
   */
  static NDArray orthogonality(NDArray rows) {
    NDArray gram = rows.matMul(rows.transpose()); // [r, r]
    return gram.sub(rows.getManager().eye((int) rows.getShape().get(0))).norm();
  }
}
