package org.sparkpeft.merge.method;

/** How vectors that are sparsified already become one. */
public enum Combination {
  /** lambda * sum(w v): task arithmetic. */
  LINEAR {
    @Override
    void combine(Block block, double[] weights, double lambda, float[] out) {
      Combine.weightedSum(block, weights, lambda, out);
    }
  },
  /** Sign election and disjoint mean in our convention, see {@link Ties}; no further trimming. */
  TIES {
    @Override
    void combine(Block block, double[] weights, double lambda, float[] out) {
      Combine.electByWeight(block, weights, lambda, out);
    }
  },
  /** Weighted election; the weighted sum of those that agree, not divided. */
  TIES_SUM {
    @Override
    void combine(Block block, double[] weights, double lambda, float[] out) {
      byte[] signs = ElectSign.WEIGHTED_MASS.signs(block, weights);
      Combine.disjoint(block, weights, signs, Combine.Divisor.ONE, lambda, out);
    }
  },
  /** Election by the unweighted sum; the weighted sum over the number that agree (HF PEFT). */
  TIES_HF {
    @Override
    void combine(Block block, double[] weights, double lambda, float[] out) {
      byte[] signs = ElectSign.MASS.signs(block, weights);
      Combine.disjoint(block, weights, signs, Combine.Divisor.COUNT, lambda, out);
    }
  };

  abstract void combine(Block block, double[] weights, double lambda, float[] out);
}
