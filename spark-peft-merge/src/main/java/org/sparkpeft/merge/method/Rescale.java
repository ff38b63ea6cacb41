package org.sparkpeft.merge.method;

import java.util.List;

/** What makes up for entries dropped at random. */
public enum Rescale {
  /** Division by the probability of being kept, as published: right on average. */
  PROBABILITY,
  /**
   * Each tensor regains its L1 norm from before (mergekit): right in size, for small tensors too.
   */
  L1,
  /** Nothing: the result shrinks. */
  NONE;

  /**
   * The factor on what each vector's step keeps of a tensor that restores its L1 norm; 1 if nothing
   * is kept.
   *
   * @param steps drop entries and do not rescale
   */
  static double[] l1(TensorScan tensor, List<VectorStep> steps) {
    int n = steps.size();
    double[] all = new double[n];
    double[] kept = new double[n];
    boolean wholeRows = steps.stream().anyMatch(VectorStep::wholeRows);
    tensor.forEachBlock(
        wholeRows,
        block -> {
          for (int t = 0; t < n; t++) {
            float[] values = block.values(t);
            all[t] = addMagnitudes(all[t], values, block.length());
            steps.get(t).apply(block, t);
            kept[t] = addMagnitudes(kept[t], values, block.length());
          }
        });
    double[] factors = new double[n];
    for (int t = 0; t < n; t++) {
      factors[t] = kept[t] > 0 ? all[t] / kept[t] : 1;
    }
    return factors;
  }

  private static double addMagnitudes(double sum, float[] values, int n) {
    double total = sum;
    for (int i = 0; i < n; i++) {
      total += Math.abs(values[i]);
    }
    return total;
  }
}
