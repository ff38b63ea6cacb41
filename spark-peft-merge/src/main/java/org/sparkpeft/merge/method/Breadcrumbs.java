package org.sparkpeft.merge.method;

import java.util.ArrayList;
import java.util.List;

/**
 * Model Breadcrumbs (Davari and Belilovsky, 2023): the largest magnitudes go as outliers, the next
 * largest stay, the rest goes; then the vectors are added or signs elected.
 *
 * <p>Of N entries the floor(gamma N) largest go and the floor(density N), at least 1, next largest
 * stay; if that is more than are left, fewer outliers go. N is a tensor, as in mergekit, or with
 * {@code byRow} a row, as in the released code (which leaves nothing of rows too narrow for one
 * entry).
 *
 * @param density fraction of each tensor or row kept
 * @param gamma fraction of outliers; mergekit's default is 0.01
 * @param lambda factor on the result
 * @param combination what follows
 * @param byRow whether rows, the last dimension, are taken one by one
 */
public record Breadcrumbs(
    double density, double gamma, double lambda, Combination combination, boolean byRow)
    implements BlockwiseMethod {

  public Breadcrumbs {
    Share unused = new Share(1, density, gamma, 0);
    if (!Double.isFinite(lambda)) {
      throw new IllegalArgumentException(
          "lambda must be finite, got " + lambda + " with " + unused);
    }
  }

  /** By tensor, as mergekit does. */
  public Breadcrumbs(double density, double gamma, double lambda, Combination combination) {
    this(density, gamma, lambda, combination, false);
  }

  @Override
  public Share share(double weight) {
    return new Share(weight, density, gamma, 0);
  }

  @Override
  public TensorPlan plan(TensorScan tensor, List<Share> shares, List<KeepRule> trims) {
    List<VectorStep> steps = byRow ? rows(tensor, shares) : bands(tensor, shares);
    return new BlockPlan(steps, BlockPlan.weights(shares), combination, lambda);
  }

  private static long outliers(Share share, long size) {
    long kept = MagnitudeSearch.keptCount(share.density(), size);
    return Math.min((long) Math.floor(share.gamma() * size + 1e-9), size - kept);
  }

  private static List<VectorStep> rows(TensorScan tensor, List<Share> shares) {
    int columns = tensor.columns();
    List<VectorStep> steps = new ArrayList<>();
    for (Share share : shares) {
      int kept = (int) MagnitudeSearch.keptCount(share.density(), columns);
      steps.add(new VectorStep.RowBand(columns, (int) outliers(share, columns), kept));
    }
    return steps;
  }

  private static List<VectorStep> bands(TensorScan tensor, List<Share> shares) {
    long size = tensor.size();
    long[] most =
        shares.stream()
            .mapToLong(s -> MagnitudeSearch.keptCount(s.density(), size) + outliers(s, size))
            .toArray();
    long[] top = shares.stream().mapToLong(s -> outliers(s, size)).toArray();
    List<KeepRule> kept = Selections.within(tensor, most);
    List<KeepRule> dropped = Selections.within(tensor, top);
    List<VectorStep> steps = new ArrayList<>();
    for (int t = 0; t < top.length; t++) {
      steps.add(new VectorStep.Band(kept.get(t), dropped.get(t)));
    }
    return steps;
  }
}
