package org.sparkpeft.merge.method;

import java.util.ArrayList;
import java.util.List;

/**
 * DELLA-Merging (Deep et al., 2024): like {@link Dare}, but in each row larger magnitudes are kept
 * with higher probability; then signs are elected ("della") or all is added ("della_linear").
 *
 * @param density mean probability of keeping an entry
 * @param epsilon half the width of the window of probabilities; density +- epsilon in (0, 1).
 *     Published example: density 0.7, epsilon 0.07
 * @param lambda factor on the result; published example 1.1
 * @param combination what follows
 * @param rescale what makes up for the dropped
 * @param seed of the random choice
 */
public record Della(
    double density,
    double epsilon,
    double lambda,
    Combination combination,
    Rescale rescale,
    long seed)
    implements BlockwiseMethod {

  public Della {
    requireWindow(new Share(1, density, 0, epsilon));
    if (!Double.isFinite(lambda)) {
      throw new IllegalArgumentException("lambda must be finite, got " + lambda);
    }
  }

  @Override
  public Share share(double weight) {
    return new Share(weight, density, 0, epsilon);
  }

  private static void requireWindow(Share share) {
    double low = share.density() - share.epsilon();
    double high = share.density() + share.epsilon();
    if (!(low > 0 && high < 1)) {
      throw new IllegalArgumentException(
          "density +- epsilon must lie in (0, 1), got "
              + share.density()
              + " +- "
              + share.epsilon());
    }
  }

  @Override
  public void check(List<Share> shares) {
    shares.forEach(Della::requireWindow);
  }

  @Override
  public boolean draws() {
    return true;
  }

  @Override
  public TensorPlan plan(TensorScan tensor, List<Share> shares, List<KeepRule> trims) {
    List<VectorStep> steps = new ArrayList<>();
    for (int t = 0; t < shares.size(); t++) {
      steps.add(step(tensor, t, shares.get(t), rescale == Rescale.PROBABILITY ? 0 : 1));
    }
    if (rescale == Rescale.L1) {
      double[] factors = Rescale.l1(tensor, steps);
      for (int t = 0; t < factors.length; t++) {
        steps.set(t, step(tensor, t, shares.get(t), factors[t]));
      }
    }
    return new BlockPlan(steps, BlockPlan.weights(shares), combination, lambda);
  }

  private VectorStep step(TensorScan tensor, int t, Share share, double factor) {
    VectorStep.Draw draw = new VectorStep.Draw(seed, tensor.identity(t), tensor.name());
    return new VectorStep.RankedDrop(
        draw, tensor.columns(), share.density(), share.epsilon(), factor);
  }
}
