package org.sparkpeft.merge.method;

import java.util.List;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.compress.Sparsifiers;

/**
 * Model Breadcrumbs (Davari and Belilovsky, 2023) in mergekit's form: of each tensor the largest
 * magnitudes go as outliers, the next largest stay, the rest goes; then the vectors are added or
 * signs elected. (The released code works on rows, which leaves nothing of narrow ones.)
 *
 * @param density fraction of each tensor kept
 * @param gamma fraction of outliers; mergekit's default is 0.01
 * @param lambda factor on the result
 * @param combination what follows
 */
public record Breadcrumbs(double density, double gamma, double lambda, Combination combination)
    implements MergeMethod {

  @Override
  public TaskVector merge(List<TaskVector> vectors, List<Double> weights) {
    Inputs inputs = Inputs.of(vectors, weights);
    Sparsifiers.Breadcrumbs band = new Sparsifiers.Breadcrumbs(density, gamma);
    Philox unused = Philox.of(0, "breadcrumbs draw nothing");
    return combination.merge(
        inputs.mapping(
            (t, values) -> band.sparsify(values, inputs.layout(), unused).toDense(values.length)),
        lambda);
  }
}
