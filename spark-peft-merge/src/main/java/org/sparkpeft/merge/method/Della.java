package org.sparkpeft.merge.method;

import java.util.List;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.compress.Sparsifiers;

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
    implements MergeMethod {

  @Override
  public TaskVector merge(List<TaskVector> vectors, List<Double> weights) {
    Inputs inputs = Inputs.of(vectors, weights);
    Sparsifiers.Della drop = new Sparsifiers.Della(density, epsilon);
    return combination.merge(RandomDrop.apply(inputs, drop, rescale, seed), lambda);
  }
}
