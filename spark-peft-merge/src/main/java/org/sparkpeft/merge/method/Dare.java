package org.sparkpeft.merge.method;

import java.util.ArrayList;
import java.util.List;

/**
 * DARE (Yu et al., "Language Models are Super Mario", 2023): drop entries at random, rescale the
 * rest, then add ("dare_linear") or elect signs ("dare_ties"). Weights are not normalised in the
 * linear form; in the TIES form only their ratios matter.
 *
 * <p>What is dropped depends on the seed, the vector's own values ({@link VectorIdentity}), the
 * tensor's name and the position, so neither on the order of vectors nor on their number.
 *
 * @param density probability of keeping an entry, 1 - drop rate, in (0, 1]; published drop rates
 *     are 0.9 and more for small differences
 * @param lambda factor on the result
 * @param combination what follows
 * @param rescale what makes up for the dropped
 * @param seed of the random choice
 */
public record Dare(
    double density, double lambda, Combination combination, Rescale rescale, long seed)
    implements BlockwiseMethod {

  public Dare {
    if (!(density > 0 && density <= 1) || !Double.isFinite(lambda)) {
      throw new IllegalArgumentException(
          "density must be in (0, 1] and lambda finite, got " + density + " and " + lambda);
    }
  }

  @Override
  public Share share(double weight) {
    return new Share(weight, density, 0, 0);
  }

  @Override
  public boolean draws() {
    return true;
  }

  @Override
  public TensorPlan plan(TensorScan tensor, List<Share> shares, List<KeepRule> trims) {
    List<VectorStep> steps = new ArrayList<>();
    for (int t = 0; t < shares.size(); t++) {
      VectorStep.Draw draw = new VectorStep.Draw(seed, tensor.identity(t), tensor.name());
      double kept = shares.get(t).density();
      steps.add(new VectorStep.Drop(draw, kept, rescale == Rescale.PROBABILITY ? 1 / kept : 1));
    }
    if (rescale == Rescale.L1) {
      double[] factors = Rescale.l1(tensor, steps);
      for (int t = 0; t < factors.length; t++) {
        VectorStep.Drop drop = (VectorStep.Drop) steps.get(t);
        steps.set(t, new VectorStep.Drop(drop.random(), drop.density(), factors[t]));
      }
    }
    return new BlockPlan(steps, BlockPlan.weights(shares), combination, lambda);
  }
}
