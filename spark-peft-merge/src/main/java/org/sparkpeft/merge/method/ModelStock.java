package org.sparkpeft.merge.method;

import java.util.List;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/**
 * Model Stock (Jang et al., "Model Stock: All we need is just a few fine-tuned models", 2024): for
 * each tensor the mean of N vectors, pulled towards the base model by t = N cos / (1 + (N - 1)
 * cos), cos being the mean cosine of the angle between two of them. The less they agree, the nearer
 * the result is to the base; below 0 it is the base itself. Weights must be equal.
 */
public record ModelStock() implements MergeMethod {
  @Override
  public TaskVector merge(List<TaskVector> vectors, List<Double> weights) {
    Inputs inputs = Inputs.of(vectors, weights);
    if (weights.stream().distinct().count() > 1) {
      throw new IllegalArgumentException("Model Stock has no weights, got " + weights);
    }
    int n = inputs.count();
    float[] merged = new Average().merge(vectors).toArray();
    for (ParameterLayout.Entry entry : inputs.layout().entries()) {
      double ratio = n == 1 ? 1 : ratio(n, meanCosine(vectors, entry));
      for (int i = entry.offset(); i < entry.end(); i++) {
        merged[i] = (float) (ratio * merged[i]);
      }
    }
    return TaskVector.wrap(inputs.layout(), merged);
  }

  /** The share of the mean for {@code n} vectors at a mean cosine. */
  static double ratio(int n, double cosine) {
    return cosine <= 0 ? 0 : n * cosine / (1 + (n - 1) * cosine);
  }

  private static double meanCosine(List<TaskVector> vectors, ParameterLayout.Entry entry) {
    int n = vectors.size();
    double[] cosines = new double[n * (n - 1) / 2];
    int pairs = 0;
    for (int a = 0; a < n; a++) {
      for (int b = 0; b < a; b++) {
        cosines[pairs++] = Angles.cosine(vectors.get(a), vectors.get(b), entry);
      }
    }
    return Inputs.sum(cosines, pairs) / pairs;
  }
}
