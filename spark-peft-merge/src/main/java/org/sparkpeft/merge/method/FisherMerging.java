package org.sparkpeft.merge.method;

import java.util.List;
import org.sparkpeft.core.vector.TaskVector;

/**
 * Fisher-weighted averaging (Matena and Raffel, "Merging Models with Fisher-Weighted Averaging",
 * 2022): sum(w F v) / sum(w F) for each entry, F being the diagonal Fisher information, the mean
 * squared gradient of the log-likelihood of one example at a time.
 *
 * @param normalise divide each F by its Euclidean norm first, so that no task counts more because
 *     its gradients are larger
 * @param floor least value of F, so that entries nobody is sure of become a plain mean; 1e-6
 */
public record FisherMerging(boolean normalise, double floor) {
  public FisherMerging {
    if (!(floor > 0)) {
      throw new IllegalArgumentException("the floor must be above 0, got " + floor);
    }
  }

  /** Normalised, with a floor of 1e-6. */
  public static FisherMerging defaults() {
    return new FisherMerging(true, 1e-6);
  }

  /**
   * Merges vectors.
   *
   * @param fishers the diagonal Fisher information of each, in the same layout, none below 0
   * @param weights a factor on each Fisher information
   */
  public TaskVector merge(
      List<TaskVector> vectors, List<TaskVector> fishers, List<Double> weights) {
    Inputs inputs = Inputs.of(vectors, weights);
    Inputs information = Inputs.of(fishers, weights);
    if (information.count() != inputs.count() || !information.layout().equals(inputs.layout())) {
      throw new IllegalArgumentException(
          "every vector needs a Fisher information of its own layout, got " + fishers.size());
    }
    double[] scale = new double[inputs.count()];
    for (int t = 0; t < scale.length; t++) {
      double norm = fishers.get(t).norm();
      scale[t] = normalise && norm > 0 ? 1 / norm : 1;
    }
    float[] merged = new float[inputs.size()];
    double[] numerator = new double[scale.length];
    double[] denominator = new double[scale.length];
    for (int i = 0; i < merged.length; i++) {
      for (int t = 0; t < scale.length; t++) {
        if (information.value(t, i) < 0) {
          throw new IllegalArgumentException(
              "Fisher information is a mean of squares, but entry "
                  + i
                  + " of vector "
                  + t
                  + " is "
                  + information.value(t, i));
        }
        double share = inputs.weight(t) * Math.max(floor, information.value(t, i) * scale[t]);
        denominator[t] = share;
        numerator[t] = share * inputs.value(t, i);
      }
      merged[i] =
          (float) (Inputs.sum(numerator, scale.length) / Inputs.sum(denominator, scale.length));
    }
    return TaskVector.wrap(inputs.layout(), merged);
  }
}
