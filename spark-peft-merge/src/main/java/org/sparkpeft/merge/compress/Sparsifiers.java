package org.sparkpeft.merge.compress;

import java.util.Arrays;
import java.util.List;
import java.util.function.IntPredicate;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;

/** Sparsifiers besides {@link TopK}. All drop zeros, which need not be sent. */
public final class Sparsifiers {
  private Sparsifiers() {}

  /**
   * Keeps magnitudes of at least {@code threshold}.
   *
   * @param threshold above 0
   */
  public record Threshold(double threshold) implements Sparsifier {
    public Threshold {
      require(threshold > 0 && Double.isFinite(threshold), "threshold must be above 0", threshold);
    }

    @Override
    public Sparse sparsify(float[] values, ParameterLayout layout, Philox random) {
      return Sparse.gather(values, where(values, i -> Math.abs(values[i]) >= threshold));
    }
  }

  /**
   * The top share of each row, a row being the last dimension of a tensor (vectors are one row).
   *
   * @param density fraction kept of each row, at least one entry
   */
  public record TopKByRow(double density) implements Sparsifier {
    public TopKByRow {
      requireDensity(density);
    }

    @Override
    public Sparse sparsify(float[] values, ParameterLayout layout, Philox random) {
      int[] kept = new int[values.length];
      int n = 0;
      for (ParameterLayout.Entry entry : layout.entries()) {
        int columns = columns(entry);
        for (int row = entry.offset(); row < entry.end(); row += columns) {
          int k = TopKSelection.keptCount(density, columns);
          int[] of = TopKSelection.indices(values, row, row + columns, k);
          System.arraycopy(of, 0, kept, n, of.length);
          n += of.length;
        }
      }
      return Sparse.gather(values, Arrays.copyOf(kept, n));
    }
  }

  /**
   * Model Breadcrumbs (Davari and Belilovsky, 2023) in mergekit's form: of each tensor's N entries
   * the floor(gamma N) largest magnitudes go, as outliers, and the floor(density N) next largest
   * stay. If that is more than are left, fewer outliers go.
   *
   * @param density fraction kept
   * @param gamma fraction of outliers, in [0, 1); mergekit's default is 0.01
   */
  public record Breadcrumbs(double density, double gamma) implements Sparsifier {
    public Breadcrumbs {
      requireDensity(density);
      require(gamma >= 0 && gamma < 1, "gamma must be in [0, 1)", gamma);
    }

    @Override
    public Sparse sparsify(float[] values, ParameterLayout layout, Philox random) {
      boolean[] keep = new boolean[values.length];
      for (ParameterLayout.Entry entry : layout.entries()) {
        int size = entry.size();
        int kept = TopKSelection.keptCount(density, size);
        int outliers = Math.min((int) Math.floor(gamma * size + 1e-9), size - kept);
        mark(
            keep,
            TopKSelection.indices(values, entry.offset(), entry.end(), outliers + kept),
            true);
        mark(keep, TopKSelection.indices(values, entry.offset(), entry.end(), outliers), false);
      }
      return Sparse.gather(values, where(values, i -> keep[i]));
    }

    private static void mark(boolean[] keep, int[] positions, boolean value) {
      for (int position : positions) {
        keep[position] = value;
      }
    }
  }

  /**
   * DARE (Yu et al., "Language models are super Mario", 2023): each entry stays with probability
   * {@code density}, divided by it, so that the result is right on average.
   *
   * @param density 1 - drop rate
   */
  public record Dare(double density) implements Sparsifier {
    public Dare {
      requireDensity(density);
    }

    @Override
    public Sparse sparsify(float[] values, ParameterLayout layout, Philox random) {
      int[] kept = where(values, i -> random.doubleAt(i) < density);
      Sparse sparse = Sparse.gather(values, kept);
      for (int i = 0; i < kept.length; i++) {
        sparse.values()[i] = SharedExponent.clamp((float) (sparse.value(i) / density));
      }
      return sparse;
    }
  }

  /**
   * DELLA (Deep et al., 2024): in each row of n entries, with rank 1 for the smallest magnitude, an
   * entry stays with probability q = density - epsilon + 2 epsilon (rank - 1) / (n - 1), divided by
   * q. Equal magnitudes rank by index, the first highest.
   *
   * @param density mean probability of staying
   * @param epsilon half the width of the window; density +- epsilon must lie in (0, 1)
   */
  public record Della(double density, double epsilon) implements Sparsifier {
    public Della {
      requireDensity(density);
      require(
          epsilon >= 0 && density - epsilon > 0 && density + epsilon < 1,
          "density +- epsilon must lie in (0, 1), with density " + density + " and epsilon",
          epsilon);
    }

    @Override
    public Sparse sparsify(float[] values, ParameterLayout layout, Philox random) {
      double[] probability = new double[values.length];
      for (ParameterLayout.Entry entry : layout.entries()) {
        int columns = columns(entry);
        for (int row = entry.offset(); row < entry.end(); row += columns) {
          probabilities(values, row, columns, probability);
        }
      }
      int[] kept = where(values, i -> random.doubleAt(i) < probability[i]);
      Sparse sparse = Sparse.gather(values, kept);
      for (int i = 0; i < kept.length; i++) {
        float scaled = (float) (sparse.value(i) / probability[kept[i]]);
        sparse.values()[i] = SharedExponent.clamp(scaled);
      }
      return sparse;
    }

    /** Writes the keep-probabilities of {@code values[from..from + n)} into the same range. */
    public void probabilities(float[] values, int from, int n, double[] into) {
      int[] ranked = MagnitudeRanks.ascending(values, from, n);
      for (int rank = 0; rank < n; rank++) {
        into[from + ranked[rank]] =
            n == 1 ? density : density - epsilon + 2 * epsilon * rank / (n - 1);
      }
    }
  }

  static void requireDensity(double density) {
    require(density > 0 && density <= 1, "density must be in (0, 1]", density);
  }

  private static void require(boolean ok, String limit, double value) {
    if (!ok) {
      throw new IllegalArgumentException(limit + ", got " + value);
    }
  }

  private static int columns(ParameterLayout.Entry entry) {
    List<Integer> shape = entry.shape();
    return shape.isEmpty() ? 1 : shape.get(shape.size() - 1);
  }

  private static int[] where(float[] values, IntPredicate keep) {
    int[] kept = new int[values.length];
    int n = 0;
    for (int i = 0; i < values.length; i++) {
      if (values[i] != 0 && keep.test(i)) {
        kept[n++] = i;
      }
    }
    return Arrays.copyOf(kept, n);
  }
}
