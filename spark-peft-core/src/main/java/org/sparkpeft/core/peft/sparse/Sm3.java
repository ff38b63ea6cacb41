package org.sparkpeft.core.peft.sparse;

import java.util.ArrayList;
import java.util.BitSet;
import java.util.Comparator;
import java.util.List;
import java.util.PriorityQueue;

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

  private record Entry(double score, int index) {}

  /** Best last, so that a queue has the worst in front. */
  private static final Comparator<Entry> ORDER =
      Comparator.comparingDouble(Entry::score)
          .thenComparing(Comparator.comparingInt(Entry::index).reversed());

  /** The entries with the largest products, never holding more than {@code count} of them. */
  int[] grow(BitSet excluded, int count) {
    PriorityQueue<Entry> best = new PriorityQueue<>(Math.max(1, count), ORDER);
    double widest = 0;
    for (double column : columns) {
      widest = Math.max(widest, column);
    }
    for (int i = 0; i < rows.length && count > 0; i++) {
      Entry worst = best.peek();
      if (worst != null && best.size() == count && rows[i] * widest <= worst.score()) {
        continue;
      }
      for (int j = 0; j < columns.length; j++) {
        int index = i * columns.length + j;
        if (!excluded.get(index)) {
          offer(best, rows[i] * columns[j], index, count);
        }
      }
    }
    List<Entry> chosen = new ArrayList<>(best);
    chosen.sort(ORDER.reversed());
    return chosen.stream().mapToInt(Entry::index).toArray();
  }

  private static void offer(PriorityQueue<Entry> best, double score, int index, int count) {
    if (best.size() < count) {
      best.add(new Entry(score, index));
      return;
    }
    Entry worst = best.peek();
    if (worst != null && score > worst.score()) {
      best.poll();
      best.add(new Entry(score, index));
    }
  }
}
