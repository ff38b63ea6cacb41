package org.sparkpeft.merge.method;

import java.util.Arrays;
import java.util.Comparator;
import java.util.stream.IntStream;

/** Thin QR, singular values and Cholesky of small matrices, deterministic to the bit. */
final class Decompositions {
  private static final double NEGLIGIBLE = 1e-12;
  private static final int MAX_SWEEPS = 60;

  private Decompositions() {}

  /**
   * A = q r with orthonormal columns in q [m, n], r [n, n] upper triangular. A column of A that
   * depends on those before it gives a zero column of q and a zero row of r.
   */
  record Qr(Matrix q, Matrix r) {}

  /** Modified Gram-Schmidt, each column orthogonalised twice. */
  static Qr qr(Matrix a) {
    int n = a.columns();
    Matrix q = a.columnRange(0, n);
    Matrix r = new Matrix(n, n);
    for (int j = 0; j < n; j++) {
      double original = Math.sqrt(q.columnDot(j, j));
      for (int pass = 0; pass < 2; pass++) {
        for (int k = 0; k < j; k++) {
          double along = q.columnDot(k, j);
          r.set(k, j, r.get(k, j) + along);
          for (int i = 0; i < q.rows(); i++) {
            q.set(i, j, q.get(i, j) - along * q.get(i, k));
          }
        }
      }
      double norm = Math.sqrt(q.columnDot(j, j));
      boolean dependent = norm <= NEGLIGIBLE * original;
      r.set(j, j, dependent ? 0 : norm);
      for (int i = 0; i < q.rows(); i++) {
        q.set(i, j, dependent ? 0 : q.get(i, j) / norm);
      }
    }
    return new Qr(q, r);
  }

  /**
   * A = u diag(values) v^T, values descending; the entry of each u of largest magnitude is
   * positive.
   */
  @SuppressWarnings("ArrayRecordComponent") // Stays inside this package, never compared.
  record Svd(Matrix u, double[] values, Matrix v) {}

  /** One-sided Jacobi: turns pairs of columns until all are orthogonal. */
  static Svd svd(Matrix a) {
    int n = a.columns();
    Matrix turned = a.columnRange(0, n);
    Matrix v = new Matrix(n, n);
    for (int i = 0; i < n; i++) {
      v.set(i, i, 1);
    }
    boolean changed = true;
    for (int sweep = 0; changed && sweep < MAX_SWEEPS; sweep++) {
      changed = false;
      for (int p = 0; p < n; p++) {
        for (int q = p + 1; q < n; q++) {
          changed |= orthogonalise(turned, v, p, q);
        }
      }
    }
    return sorted(turned, v);
  }

  private static boolean orthogonalise(Matrix a, Matrix v, int p, int q) {
    double alpha = a.columnDot(p, p);
    double beta = a.columnDot(q, q);
    double gamma = a.columnDot(p, q);
    if (Math.abs(gamma) <= 1e-15 * Math.sqrt(alpha * beta)) {
      return false;
    }
    double zeta = (beta - alpha) / (2 * gamma);
    double t = Math.copySign(1, zeta) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
    double c = 1 / Math.sqrt(1 + t * t);
    rotate(a, p, q, c, c * t);
    rotate(v, p, q, c, c * t);
    return true;
  }

  private static void rotate(Matrix m, int p, int q, double c, double s) {
    for (int i = 0; i < m.rows(); i++) {
      double left = m.get(i, p);
      double right = m.get(i, q);
      m.set(i, p, c * left - s * right);
      m.set(i, q, s * left + c * right);
    }
  }

  private static Svd sorted(Matrix turned, Matrix v) {
    int n = turned.columns();
    double[] norms = new double[n];
    for (int j = 0; j < n; j++) {
      norms[j] = Math.sqrt(turned.columnDot(j, j));
    }
    Integer[] order = IntStream.range(0, n).boxed().toArray(Integer[]::new);
    Arrays.sort(order, Comparator.comparingDouble(j -> -norms[j]));
    Matrix u = new Matrix(turned.rows(), n);
    Matrix right = new Matrix(n, n);
    double[] values = new double[n];
    for (int to = 0; to < n; to++) {
      int from = order[to];
      values[to] = norms[from];
      double sign = signOfLargest(turned, from);
      for (int i = 0; i < turned.rows(); i++) {
        u.set(i, to, norms[from] == 0 ? 0 : sign * turned.get(i, from) / norms[from]);
      }
      for (int i = 0; i < n; i++) {
        right.set(i, to, sign * v.get(i, from));
      }
    }
    return new Svd(u, values, right);
  }

  private static double signOfLargest(Matrix m, int column) {
    double largest = 0;
    for (int i = 0; i < m.rows(); i++) {
      if (Math.abs(m.get(i, column)) > Math.abs(largest)) {
        largest = m.get(i, column);
      }
    }
    return largest < 0 ? -1 : 1;
  }

  /**
   * The solution of {@code a x = b} for symmetric positive definite {@code a}, by Cholesky.
   *
   * @throws IllegalArgumentException if it is not positive definite
   */
  static Matrix solve(Matrix a, Matrix b) {
    int n = a.rows();
    Matrix l = new Matrix(n, n);
    for (int j = 0; j < n; j++) {
      for (int i = j; i < n; i++) {
        double sum = a.get(i, j);
        for (int k = 0; k < j; k++) {
          sum -= l.get(i, k) * l.get(j, k);
        }
        if (i == j && !(sum > 0)) {
          throw new IllegalArgumentException(
              "the matrix is not positive definite at row " + j + " (pivot " + sum + ")");
        }
        l.set(i, j, i == j ? Math.sqrt(sum) : sum / l.get(j, j));
      }
    }
    Matrix x = b.columnRange(0, b.columns());
    for (int column = 0; column < x.columns(); column++) {
      for (int i = 0; i < n; i++) {
        double sum = x.get(i, column);
        for (int k = 0; k < i; k++) {
          sum -= l.get(i, k) * x.get(k, column);
        }
        x.set(i, column, sum / l.get(i, i));
      }
      for (int i = n - 1; i >= 0; i--) {
        double sum = x.get(i, column);
        for (int k = i + 1; k < n; k++) {
          sum -= l.get(k, i) * x.get(k, column);
        }
        x.set(i, column, sum / l.get(i, i));
      }
    }
    return x;
  }
}
