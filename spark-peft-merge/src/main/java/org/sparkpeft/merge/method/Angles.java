package org.sparkpeft.merge.method;

/**
 * Inner products of the vectors of a merge within one tensor, in double and index order, and the
 * angles between them.
 */
final class Angles {
  private static final double ZERO = 1e-8;

  private final double[][] dots;

  private Angles(double[][] dots) {
    this.dots = dots;
  }

  /** One pass over a tensor. */
  static Angles of(TensorScan tensor) {
    int n = tensor.vectors();
    double[][] dots = new double[n][n];
    tensor.forEachBlock(
        false,
        block -> {
          for (int a = 0; a < n; a++) {
            for (int b = 0; b <= a; b++) {
              dots[a][b] =
                  addProducts(dots[a][b], block.values(a), block.values(b), block.length());
            }
          }
        });
    for (int a = 0; a < n; a++) {
      for (int b = 0; b < a; b++) {
        dots[b][a] = dots[a][b];
      }
    }
    return new Angles(dots);
  }

  private static double addProducts(double sum, float[] x, float[] y, int n) {
    double total = sum;
    for (int i = 0; i < n; i++) {
      total += (double) x[i] * y[i];
    }
    return total;
  }

  double norm(int a) {
    return Math.sqrt(dots[a][a]);
  }

  /** Whether both norms are above 1e-8. */
  boolean bothNonZero(int a, int b) {
    return norm(a) > ZERO && norm(b) > ZERO;
  }

  /** Cosine of the angle, within -1..1; 0 if one is zero. */
  double cosine(int a, int b) {
    if (!bothNonZero(a, b)) {
      return 0;
    }
    double cosine = dots[a][b] / (norm(a) * norm(b));
    return Math.max(-1, Math.min(1, cosine));
  }
}
