package org.sparkpeft.merge.method;

import java.util.List;
import org.sparkpeft.core.vector.TaskVector;

/**
 * Weighted mean: sum(w v) / sum(w). With weights n_t, the numbers of examples, it is FedAvg. A
 * total weight within 1e-8 of 0 counts as 1.
 */
public record Average() implements MergeMethod {
  @Override
  public TaskVector merge(List<TaskVector> vectors, List<Double> weights) {
    Inputs inputs = Inputs.of(vectors, weights);
    return TaskVector.wrap(inputs.layout(), Combine.weightedSum(inputs, 1 / inputs.totalWeight()));
  }
}
