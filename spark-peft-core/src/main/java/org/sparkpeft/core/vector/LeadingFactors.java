package org.sparkpeft.core.vector;

import java.util.Arrays;

/**
 * The leading part of a matrix's decomposition, {@code W ~ left diag(values) right}: of its
 * singular value decomposition or its QR decomposition. Computed in double precision, the same bits
 * on every machine.
 */
public final class LeadingFactors {
  /** Squared, relative to the largest: below that, a singular value is rounding noise. */
  private static final double NEGLIGIBLE = 1e-13;

  private final int rows;
  private final int columns;
  private final double[] values;
  private final double[][] left;
  private final double[][] right;

  /** One left and one right vector for each value. */
  private LeadingFactors(
      int rows, int columns, double[] values, double[][] left, double[][] right) {
    this.rows = rows;
    this.columns = columns;
    this.values = values;
    this.left = left;
    this.right = right;
  }

  /**
   * The {@code k} largest singular values and their vectors; in each left vector the entry of
   * largest magnitude is positive. Through the eigenvectors of the smaller of {@code W Wt} and
   * {@code Wt W}, so values far below the largest have fewer correct digits. Where the rank is
   * below {@code k}, the other vectors of the longer side are zero.
   *
   * @param w {@code [rows, columns]}, row-major
   * @param k 1..min(rows, columns)
   */
  public static LeadingFactors svd(float[] w, int rows, int columns, int k) {
    double[] wide = new double[w.length];
    for (int i = 0; i < w.length; i++) {
      wide[i] = w[i];
    }
    return svd(wide, rows, columns, k);
  }

  private static LeadingFactors svd(double[] w, int rows, int columns, int k) {
    requireRank(k, rows, columns);
    boolean transposed = columns < rows;
    double[] flat = transposed ? transpose(w, rows, columns) : w; // few long rows
    int few = Math.min(rows, columns);
    int many = Math.max(rows, columns);
    SymmetricEigen eigen = SymmetricEigen.of(gram(flat, few, many), few);
    double[] values = new double[k];
    double[][] shortSide = new double[k][];
    double[][] longSide = new double[k][];
    double negligible = NEGLIGIBLE * Math.max(0, eigen.value(0));
    for (int i = 0; i < k; i++) {
      shortSide[i] = eigen.vector(i);
      double[] image = times(shortSide[i], flat, many); // value * long vector
      double value = Math.sqrt(dot(image, image));
      boolean kept = eigen.value(i) > negligible && value > 0;
      values[i] = kept ? value : 0;
      longSide[i] = scaled(image, kept ? 1 / value : 0);
    }
    LeadingFactors svd =
        new LeadingFactors(
            rows,
            columns,
            values,
            transposed ? longSide : shortSide,
            transposed ? shortSide : longSide);
    svd.fixSigns();
    return svd;
  }

  /**
   * The singular value decomposition of {@code W} seen through {@code k} directions: those that
   * {@code start} turns into after {@code iterations} power iterations (Halko, Martinsson and Tropp
   * 2011, algorithm 4.4).
   *
   * @param start k vectors of length {@code columns}, random
   */
  public static LeadingFactors svdThrough(
      float[] w, int rows, int columns, double[][] start, int iterations) {
    int k = start.length;
    requireRank(k, rows, columns);
    double[][] q = orthonormal(applied(w, rows, columns, start));
    for (int i = 0; i < iterations; i++) {
      q = orthonormal(applied(w, rows, columns, orthonormal(transposedApplied(w, columns, q))));
    }
    double[][] small = transposedApplied(w, columns, q); // Qt W, k rows
    double[] flat = new double[k * columns];
    for (int i = 0; i < k; i++) {
      System.arraycopy(small[i], 0, flat, i * columns, columns);
    }
    LeadingFactors inner = svd(flat, k, columns, k);
    double[][] left = new double[k][rows];
    for (int i = 0; i < k; i++) {
      for (int j = 0; j < k; j++) {
        addTo(left[i], q[j], inner.left[i][j]);
      }
    }
    LeadingFactors svd = new LeadingFactors(rows, columns, inner.values, left, inner.right);
    svd.fixSigns();
    return svd;
  }

  /**
   * The first {@code k} columns of Q and rows of R of {@code W = Q R}; all values are 1. R's
   * diagonal is not negative.
   */
  public static LeadingFactors qr(float[] w, int rows, int columns, int k) {
    requireRank(k, rows, columns);
    double[][] leading = new double[k][rows];
    for (int j = 0; j < k; j++) {
      for (int i = 0; i < rows; i++) {
        leading[j][i] = w[i * columns + j];
      }
    }
    double[][] q = orthonormal(leading);
    double[] ones = new double[k];
    Arrays.fill(ones, 1);
    return new LeadingFactors(rows, columns, ones, q, transposedApplied(w, columns, q));
  }

  public double value(int index) {
    return values[index];
  }

  /** {@code left diag(weights)}, {@code [rows, k]}, row-major. */
  public float[] left(double... weights) {
    float[] matrix = new float[rows * left.length];
    for (int j = 0; j < left.length; j++) {
      for (int i = 0; i < rows; i++) {
        matrix[i * left.length + j] = (float) (left[j][i] * weights[j]);
      }
    }
    return matrix;
  }

  /** {@code diag(weights) right}, {@code [k, columns]}, row-major. */
  public float[] right(double... weights) {
    float[] matrix = new float[right.length * columns];
    for (int j = 0; j < right.length; j++) {
      for (int i = 0; i < columns; i++) {
        matrix[j * columns + i] = (float) (right[j][i] * weights[j]);
      }
    }
    return matrix;
  }

  private static void requireRank(int k, int rows, int columns) {
    if (k < 1 || k > Math.min(rows, columns)) {
      throw new IllegalArgumentException("rank " + k + " of a matrix of " + rows + " x " + columns);
    }
  }

  private void fixSigns() {
    for (int j = 0; j < left.length; j++) {
      double largest = 0;
      for (double entry : left[j]) {
        largest = Math.abs(entry) > Math.abs(largest) ? entry : largest;
      }
      if (largest < 0) {
        left[j] = scaled(left[j], -1);
        right[j] = scaled(right[j], -1);
      }
    }
  }

  /** Gram-Schmidt, twice; a vector that depends on those before it becomes a new direction. */
  private static double[][] orthonormal(double[][] vectors) {
    double[][] q = new double[vectors.length][];
    int axis = 0;
    for (int j = 0; j < q.length; j++) {
      double least = NEGLIGIBLE * Math.sqrt(dot(vectors[j], vectors[j]));
      double[] rest = rest(vectors[j], q, j);
      double norm = Math.sqrt(dot(rest, rest));
      while (!(norm > least)) {
        double[] unit = new double[vectors[j].length];
        unit[axis++] = 1;
        rest = rest(unit, q, j);
        norm = Math.sqrt(dot(rest, rest));
        least = 1e-3; // some axis is that far from the space of the others
      }
      q[j] = scaled(rest, 1 / norm);
    }
    return q;
  }

  private static double[] rest(double[] vector, double[][] q, int count) {
    double[] rest = vector.clone();
    for (int pass = 0; pass < 2; pass++) {
      for (int k = 0; k < count; k++) {
        addTo(rest, q[k], -dot(q[k], rest));
      }
    }
    return rest;
  }

  /** {@code W x} of each vector. */
  private static double[][] applied(float[] w, int rows, int columns, double[][] vectors) {
    double[][] results = new double[vectors.length][rows];
    for (int j = 0; j < vectors.length; j++) {
      for (int i = 0; i < rows; i++) {
        double sum = 0;
        for (int c = 0; c < columns; c++) {
          sum += w[i * columns + c] * vectors[j][c];
        }
        results[j][i] = sum;
      }
    }
    return results;
  }

  /** {@code Wt x} of each vector. */
  private static double[][] transposedApplied(float[] w, int columns, double[][] vectors) {
    double[][] results = new double[vectors.length][columns];
    for (int j = 0; j < vectors.length; j++) {
      double[] result = results[j];
      for (int i = 0; i < vectors[j].length; i++) {
        double x = vectors[j][i];
        for (int c = 0; c < columns; c++) {
          result[c] += x * w[i * columns + c];
        }
      }
    }
    return results;
  }

  private static double[] gram(double[] w, int rows, int columns) {
    double[] gram = new double[rows * rows];
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j <= i; j++) {
        double a = 0;
        double b = 0;
        double c = 0;
        double d = 0;
        int at = 0;
        for (; at + 3 < columns; at += 4) { // four sums at a time, in a fixed order
          int x = i * columns + at;
          int y = j * columns + at;
          a += w[x] * w[y];
          b += w[x + 1] * w[y + 1];
          c += w[x + 2] * w[y + 2];
          d += w[x + 3] * w[y + 3];
        }
        for (; at < columns; at++) {
          a += w[i * columns + at] * w[j * columns + at];
        }
        gram[i * rows + j] = gram[j * rows + i] = (a + b) + (c + d);
      }
    }
    return gram;
  }

  private static double[] times(double[] vector, double[] w, int columns) {
    double[] result = new double[columns];
    for (int i = 0; i < vector.length; i++) {
      double x = vector[i];
      for (int c = 0; c < columns; c++) {
        result[c] += x * w[i * columns + c];
      }
    }
    return result;
  }

  private static double[] transpose(double[] w, int rows, int columns) {
    double[] result = new double[w.length];
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        result[j * rows + i] = w[i * columns + j];
      }
    }
    return result;
  }

  private static double dot(double[] a, double[] b) {
    double sum = 0;
    for (int i = 0; i < a.length; i++) {
      sum += a[i] * b[i];
    }
    return sum;
  }

  private static void addTo(double[] sum, double[] x, double factor) {
    for (int i = 0; i < sum.length; i++) {
      sum[i] += factor * x[i];
    }
  }

  private static double[] scaled(double[] x, double factor) {
    double[] result = new double[x.length];
    for (int i = 0; i < x.length; i++) {
      result[i] = factor * x[i];
    }
    return result;
  }
}
