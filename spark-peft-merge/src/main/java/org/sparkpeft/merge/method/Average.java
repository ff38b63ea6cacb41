package org.sparkpeft.merge.method;

import java.util.List;

/**
 * Weighted mean: sum(w v) / sum(w). With weights n_t, the numbers of examples, it is FedAvg. A
 * total weight within 1e-8 of 0 counts as 1.
 */
public record Average() implements BlockwiseMethod {
  @Override
  public Share share(double weight) {
    return Share.of(weight);
  }

  @Override
  public TensorPlan plan(TensorScan tensor, List<Share> shares, List<KeepRule> trims) {
    double total = shares.stream().mapToDouble(Share::weight).reduce(0, Double::sum);
    return BlockPlan.of(
        BlockPlan.weights(shares), Combination.LINEAR, Math.abs(total) < 1e-8 ? 1 : 1 / total);
  }
}
