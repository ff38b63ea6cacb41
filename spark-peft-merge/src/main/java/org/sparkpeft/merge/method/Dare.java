package org.sparkpeft.merge.method;

import java.util.List;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.compress.Sparsifiers;

/**
 * DARE (Yu et al., "Language Models are Super Mario", 2023): drop entries at random, rescale the
 * rest, then add ("dare_linear") or elect signs ("dare_ties"). Weights are not normalised in the
 * linear form; in the TIES form only their ratios matter.
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
    implements MergeMethod {

  public Dare {
    if (!(density > 0 && density <= 1) || !Double.isFinite(lambda)) {
      throw new IllegalArgumentException(
          "density must be in (0, 1] and lambda finite, got " + density + " and " + lambda);
    }
  }

  @Override
  public TaskVector merge(List<TaskVector> vectors, List<Double> weights) {
    Inputs inputs = Inputs.of(vectors, weights);
    return combination.merge(
        RandomDrop.apply(inputs, new Sparsifiers.Dare(density), rescale, seed), lambda);
  }
}
