package org.sparkpeft.core.vector;

/**
 * All eigenvalues and eigenvectors of a symmetric matrix: Householder reduction to tridiagonal form
 * and implicit QL (Golub and Van Loan, Matrix Computations, chapter 8). About 7 n^3 operations; the
 * same bits on every machine.
 */
public final class SymmetricEigen {
  private static final int MAX_TURNS = 60;

  private final int n;
  private final double[] values; // descending
  private final double[] vectors; // one a row

  private SymmetricEigen(int n, double[] values, double[] vectors) {
    this.n = n;
    this.values = values;
    this.vectors = vectors;
  }

  /**
   * @param matrix {@code [n, n]}, symmetric; overwritten
   * @throws IllegalArgumentException if an entry is not finite
   */
  public static SymmetricEigen of(double[] matrix, int n) {
    for (double value : matrix) {
      if (!Double.isFinite(value)) {
        throw new IllegalArgumentException("a matrix to decompose holds " + value);
      }
    }
    double[] diagonal = new double[n];
    double[] beside = new double[n];
    double[] rows = tridiagonal(matrix, n, diagonal, beside);
    rotate(rows, n, diagonal, beside);
    return sorted(rows, n, diagonal);
  }

  /** Eigenvalue {@code index}, the largest at 0. */
  public double value(int index) {
    return values[index];
  }

  /** Its unit vector. */
  public double[] vector(int index) {
    return java.util.Arrays.copyOfRange(vectors, index * n, (index + 1) * n);
  }

  /**
   * Reduces {@code a} by reflections {@code H = I - beta v vt}.
   *
   * @return the transposed product of the reflections, row-major
   */
  private static double[] tridiagonal(double[] a, int n, double[] diagonal, double[] beside) {
    double[] reflectors = new double[n * n]; // v of step k in row k
    double[] betas = new double[n];
    double[] q = new double[n];
    for (int k = 0; k < n - 2; k++) {
      int row = k * n;
      double norm = 0;
      for (int i = k + 1; i < n; i++) {
        norm = Math.max(norm, Math.abs(a[row + i]));
      }
      if (norm == 0) {
        continue;
      }
      double scale = norm;
      double sum = 0;
      for (int i = k + 1; i < n; i++) {
        double x = a[row + i] / scale;
        reflectors[row + i] = x;
        sum += x * x;
      }
      double alpha = -Math.copySign(Math.sqrt(sum), reflectors[row + k + 1]);
      double head = reflectors[row + k + 1] - alpha;
      double beta = 2 / (sum - reflectors[row + k + 1] * reflectors[row + k + 1] + head * head);
      reflectors[row + k + 1] = head;
      betas[k] = beta;
      reflectBothSides(a, n, k, reflectors, beta, q);
      a[row + k + 1] = alpha * scale;
    }
    for (int i = 0; i < n; i++) {
      diagonal[i] = a[i * n + i];
      beside[i] = i + 1 < n ? a[i * n + i + 1] : 0;
    }
    return product(reflectors, betas, n);
  }

  /** {@code A - v qt - q vt} below and right of entry k, with {@code q = p - beta/2 (pt v) v}. */
  private static void reflectBothSides(
      double[] a, int n, int k, double[] v, double beta, double[] q) {
    int row = k * n;
    java.util.Arrays.fill(q, 0);
    for (int i = k + 1; i < n; i++) {
      double factor = beta * v[row + i];
      for (int j = k + 1; j < n; j++) {
        q[j] += factor * a[i * n + j];
      }
    }
    double along = 0;
    for (int i = k + 1; i < n; i++) {
      along += q[i] * v[row + i];
    }
    for (int i = k + 1; i < n; i++) {
      q[i] -= beta / 2 * along * v[row + i];
    }
    for (int i = k + 1; i < n; i++) {
      double vi = v[row + i];
      double qi = q[i];
      for (int j = k + 1; j < n; j++) {
        a[i * n + j] -= vi * q[j] + qi * v[row + j];
      }
    }
  }

  private static double[] product(double[] reflectors, double[] betas, int n) {
    double[] rows = new double[n * n];
    for (int i = 0; i < n; i++) {
      rows[i * n + i] = 1;
    }
    for (int k = n - 3; k >= 0; k--) {
      for (int i = k + 1; i < n; i++) {
        double sum = 0;
        for (int j = k + 1; j < n; j++) {
          sum += rows[i * n + j] * reflectors[k * n + j];
        }
        double factor = betas[k] * sum;
        for (int j = k + 1; j < n; j++) {
          rows[i * n + j] -= factor * reflectors[k * n + j];
        }
      }
    }
    return rows;
  }

  /** Implicit QL with Wilkinson's shift; leaves eigenvalues in {@code d} and vectors in rows. */
  private static void rotate(double[] rows, int n, double[] d, double[] e) {
    for (int low = 0; low < n; low++) {
      for (int turn = 0; ; turn++) {
        int high = low;
        while (high < n - 1
            && Math.abs(e[high]) > Math.ulp(1.0) * (Math.abs(d[high]) + Math.abs(d[high + 1]))) {
          high++;
        }
        if (high == low) {
          break;
        }
        if (turn == MAX_TURNS) {
          throw new IllegalStateException("an eigenvalue does not settle");
        }
        double g = (d[low + 1] - d[low]) / (2 * e[low]);
        double r = Math.hypot(g, 1);
        g = d[high] - d[low] + e[low] / (g + Math.copySign(r, g));
        double s = 1;
        double c = 1;
        double p = 0;
        int i = high - 1;
        for (; i >= low; i--) {
          double f = s * e[i];
          double b = c * e[i];
          r = Math.sqrt(f * f + g * g);
          e[i + 1] = r;
          if (r == 0) {
            d[i + 1] -= p;
            e[high] = 0;
            break;
          }
          s = f / r;
          c = g / r;
          g = d[i + 1] - p;
          r = (d[i] - g) * s + 2 * c * b;
          p = s * r;
          d[i + 1] = g + p;
          g = c * r - b;
          turnRows(rows, n, i, c, s);
        }
        if (r == 0 && i >= low) {
          continue;
        }
        d[low] -= p;
        e[low] = g;
        e[high] = 0;
      }
    }
  }

  private static void turnRows(double[] rows, int n, int i, double c, double s) {
    int upper = i * n;
    int lower = upper + n;
    for (int k = 0; k < n; k++) {
      double f = rows[lower + k];
      double g = rows[upper + k];
      rows[lower + k] = s * g + c * f;
      rows[upper + k] = c * g - s * f;
    }
  }

  private static SymmetricEigen sorted(double[] rows, int n, double[] d) {
    int[] order =
        java.util.stream.IntStream.range(0, n)
            .boxed()
            .sorted((i, j) -> Double.compare(d[j], d[i]))
            .mapToInt(Integer::intValue)
            .toArray();
    double[] values = new double[n];
    double[] vectors = new double[n * n];
    for (int i = 0; i < n; i++) {
      values[i] = d[order[i]];
      System.arraycopy(rows, order[i] * n, vectors, i * n, n);
    }
    return new SymmetricEigen(n, values, vectors);
  }
}
