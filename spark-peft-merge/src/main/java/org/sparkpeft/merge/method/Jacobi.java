package org.sparkpeft.merge.method;

import java.util.Comparator;
import java.util.stream.IntStream;

/** One-sided Jacobi on columns that lie in arrays of their own, for matrices of some size. */
final class Jacobi {
  private static final int MAX_SWEEPS = 40;
  private static final double NEGLIGIBLE = 1e-12;

  private Jacobi() {}

  /** Turns pairs of columns until all are orthogonal; their norms are the singular values then. */
  static void orthogonalise(double[][] columns) {
    boolean changed = true;
    for (int sweep = 0; changed && sweep < MAX_SWEEPS; sweep++) {
      changed = false;
      for (int p = 0; p < columns.length; p++) {
        for (int q = p + 1; q < columns.length; q++) {
          changed |= turn(columns[p], columns[q]);
        }
      }
    }
  }

  private static boolean turn(double[] a, double[] b) {
    double gamma = dot(a, b);
    double alpha = dot(a, a);
    double beta = dot(b, b);
    if (Math.abs(gamma) <= NEGLIGIBLE * Math.sqrt(alpha * beta)) {
      return false;
    }
    double zeta = (beta - alpha) / (2 * gamma);
    double t = Math.copySign(1, zeta) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
    double c = 1 / Math.sqrt(1 + t * t);
    double s = c * t;
    for (int i = 0; i < a.length; i++) {
      double left = a[i];
      double right = b[i];
      a[i] = c * left - s * right;
      b[i] = s * left + c * right;
    }
    return true;
  }

  static double dot(double[] a, double[] b) {
    // Four sums at once: one alone waits for each addition.
    double s0 = 0;
    double s1 = 0;
    double s2 = 0;
    double s3 = 0;
    int i = 0;
    for (; i + 3 < a.length; i += 4) {
      s0 += a[i] * b[i];
      s1 += a[i + 1] * b[i + 1];
      s2 += a[i + 2] * b[i + 2];
      s3 += a[i + 3] * b[i + 3];
    }
    for (; i < a.length; i++) {
      s0 += a[i] * b[i];
    }
    return (s0 + s1) + (s2 + s3);
  }

  /** Indices of the columns of largest norm, the largest first. */
  static int[] largest(double[][] columns, int count) {
    return IntStream.range(0, columns.length)
        .boxed()
        .sorted(Comparator.comparingDouble(j -> -dot(columns[j], columns[j])))
        .limit(count)
        .mapToInt(Integer::intValue)
        .toArray();
  }

  static double signOfLargest(double[] values) {
    double largest = 0;
    for (double value : values) {
      largest = Math.abs(value) > Math.abs(largest) ? value : largest;
    }
    return largest < 0 ? -1 : 1;
  }
}
