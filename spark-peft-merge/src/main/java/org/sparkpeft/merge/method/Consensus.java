package org.sparkpeft.merge.method;

import java.util.List;

/**
 * {@link ConsensusMask} on task arithmetic, block by block: lambda times the weighted sum, without
 * the entries that fewer than two vectors want.
 *
 * @param lambda factor on the sum
 * @param threshold a vector wants an entry that is at least this times what the others make of it;
 *     published 0.2..0.6
 */
public record Consensus(double lambda, double threshold) implements BlockwiseMethod {
  private static final int LEAST_VECTORS = 2;

  public Consensus {
    if (!(threshold > 0) || !Double.isFinite(lambda)) {
      throw new IllegalArgumentException(
          "threshold must be above 0 and lambda finite, got " + threshold + " and " + lambda);
    }
  }

  @Override
  public Share share(double weight) {
    return Share.of(weight);
  }

  @Override
  public TensorPlan plan(TensorScan tensor, List<Share> shares, List<KeepRule> trims) {
    return new Plan(BlockPlan.of(BlockPlan.weights(shares), Combination.LINEAR, lambda), threshold);
  }

  /** The sum, then the mask. */
  private record Plan(BlockPlan sum, double threshold) implements TensorPlan {
    @Override
    public void merge(Block block, float[] out) {
      sum.merge(block, out);
      for (int i = 0; i < block.length(); i++) {
        int wanted = 0;
        for (int t = 0; t < block.vectors(); t++) {
          wanted += ConsensusMask.wants(block.values(t)[i], out[i], threshold) ? 1 : 0;
        }
        if (wanted < LEAST_VECTORS) {
          out[i] = 0;
        }
      }
    }

    @Override
    public boolean wholeRows() {
      return false;
    }
  }
}
