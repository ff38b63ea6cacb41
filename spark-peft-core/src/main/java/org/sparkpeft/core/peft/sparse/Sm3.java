package org.sparkpeft.core.peft.sparse;

import java.util.BitSet;

/**
 * SM3 (Anil et al. 2019, arXiv 1901.11150) on some entries of a matrix: one accumulator for each
 * row and column instead of one for each entry.
 *
 * <pre>
 * u = min(r_i, c_j) + g^2      r_i = max(r_i, u)      c_j = max(c_j, u)      step = g / sqrt(u + 1e-8)
 * </pre>
 *
 * The products {@code r_i c_j} also say which entries have seen large gradients around them.
 */
final class Sm3 {
  private static final double EPSILON = 1e-8;

  private final double[] rows;
  private final double[] columns;

  Sm3(int rows, int columns) {
    this(new double[rows], new double[columns]);
  }

  private Sm3(double[] rows, double[] columns) {
    this.rows = rows;
    this.columns = columns;
  }

  /** With given accumulators, for {@link #grow}. */
  static Sm3 of(float[] rows, float[] columns) {
    return new Sm3(widen(rows), widen(columns));
  }

  private static double[] widen(float[] values) {
    double[] wide = new double[values.length];
    for (int i = 0; i < wide.length; i++) {
      wide[i] = values[i];
    }
    return wide;
  }

  float[] rows() {
    return narrow(rows);
  }

  float[] columns() {
    return narrow(columns);
  }

  private static float[] narrow(double[] values) {
    float[] narrow = new float[values.length];
    for (int i = 0; i < narrow.length; i++) {
      narrow[i] = (float) values[i];
    }
    return narrow;
  }

  /**
   * Takes in one gradient.
   *
   * @param indices entries, row-major
   * @param gradient array with their gradients, from {@code from}
   * @return what to subtract, times the rate
   */
  float[] step(int[] indices, float[] gradient, int from) {
    float[] step = new float[indices.length];
    double[] sums = new double[indices.length];
    for (int s = 0; s < indices.length; s++) {
      double g = gradient[from + s];
      double u = Math.min(rows[row(indices[s])], columns[column(indices[s])]) + g * g;
      sums[s] = u;
      step[s] = (float) (g / Math.sqrt(u + EPSILON));
    }
    for (int s = 0; s < indices.length; s++) {
      int i = row(indices[s]);
      int j = column(indices[s]);
      rows[i] = Math.max(rows[i], sums[s]);
      columns[j] = Math.max(columns[j], sums[s]);
    }
    return step;
  }

  private int row(int index) {
    return index / columns.length;
  }

  private int column(int index) {
    return index % columns.length;
  }

  /** The entries with the largest products, never holding more than {@code count} of them. */
  int[] grow(BitSet excluded, int count) {
    TopEntries best = new TopEntries(count);
    double widest = 0;
    for (double column : columns) {
      widest = Math.max(widest, column);
    }
    for (int i = 0; i < rows.length; i++) {
      if (best.refuses(rows[i] * widest)) {
        continue;
      }
      for (int j = 0; j < columns.length; j++) {
        int index = i * columns.length + j;
        if (!excluded.get(index)) {
          best.offer(rows[i] * columns[j], index);
        }
      }
    }
    return best.take();
  }
}
