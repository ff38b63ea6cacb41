package org.sparkpeft.merge.method;

import java.util.List;

/**
 * A step for each vector, then one for all: every merge of this package ends up as one of these.
 *
 * @param steps one for each vector
 * @param weights one for each vector
 * @param combination how they become one
 * @param factor on the result
 */
record BlockPlan(
    List<VectorStep> steps, List<Double> weights, Combination combination, double factor)
    implements TensorPlan {
  BlockPlan {
    steps = List.copyOf(steps);
    weights = List.copyOf(weights);
  }

  /** A plan without the first step. */
  static BlockPlan of(List<Double> weights, Combination combination, double factor) {
    List<VectorStep> none =
        weights.stream().<VectorStep>map(weight -> new VectorStep.None()).toList();
    return new BlockPlan(none, weights, combination, factor);
  }

  static List<Double> weights(List<Share> shares) {
    return shares.stream().map(Share::weight).toList();
  }

  @Override
  public void merge(Block block, float[] out) {
    double[] factors = new double[weights.size()];
    for (int t = 0; t < factors.length; t++) {
      factors[t] = weights.get(t);
      steps.get(t).apply(block, t);
    }
    combination.combine(block, factors, factor, out);
  }

  @Override
  public boolean takesAnyOrder(long from, int n) {
    for (VectorStep step : steps) {
      if (!step.takesAnyOrder(from, n)) {
        return false;
      }
    }
    return true; // Combinations look at each entry by itself.
  }

  @Override
  public boolean wholeRows() {
    return steps.stream().anyMatch(VectorStep::wholeRows);
  }
}
