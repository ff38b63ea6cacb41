package org.sparkpeft.merge.method;

import org.sparkpeft.core.vector.TaskVector;

/** How vectors that are sparsified already become one. */
public enum Combination {
  /** lambda * sum(w v): task arithmetic. */
  LINEAR {
    @Override
    float[] combine(Inputs inputs, double lambda) {
      return Combine.weightedSum(inputs, lambda);
    }
  },
  /** Sign election and disjoint mean in our convention, see {@link Ties}; no further trimming. */
  TIES {
    @Override
    float[] combine(Inputs inputs, double lambda) {
      byte[] signs = ElectSign.WEIGHTED_MASS.signs(inputs);
      return Combine.disjoint(inputs, signs, Combine.Divisor.WEIGHT, lambda);
    }
  };

  abstract float[] combine(Inputs inputs, double lambda);

  TaskVector merge(Inputs inputs, double lambda) {
    return TaskVector.wrap(inputs.layout(), combine(inputs, lambda));
  }
}
