package org.sparkpeft.merge.method;

import java.util.Collections;
import java.util.List;

/**
 * Model Stock (Jang et al., "Model Stock: All we need is just a few fine-tuned models", 2024): for
 * each tensor the mean of N vectors, pulled towards the base model by t = N cos / (1 + (N - 1)
 * cos), cos being the mean cosine of the angle between two of them. The less they agree, the nearer
 * the result is to the base; below 0 it is the base itself. Weights must be equal.
 */
public record ModelStock() implements BlockwiseMethod {
  @Override
  public Share share(double weight) {
    return Share.of(weight);
  }

  @Override
  public void check(List<Share> shares) {
    if (shares.stream().distinct().count() > 1) {
      throw new IllegalArgumentException(
          "Model Stock has no weights, got " + BlockPlan.weights(shares));
    }
  }

  @Override
  public TensorPlan plan(TensorScan tensor, List<Share> shares, List<KeepRule> trims) {
    int n = shares.size();
    double ratio = n == 1 ? 1 : ratio(n, meanCosine(Angles.of(tensor), n));
    return BlockPlan.of(Collections.nCopies(n, 1.0), Combination.LINEAR, ratio / n);
  }

  /** The share of the mean for {@code n} vectors at a mean cosine. */
  static double ratio(int n, double cosine) {
    return cosine <= 0 ? 0 : n * cosine / (1 + (n - 1) * cosine);
  }

  private static double meanCosine(Angles angles, int n) {
    double sum = 0;
    for (int a = 0; a < n; a++) {
      for (int b = 0; b < a; b++) {
        sum += angles.cosine(a, b);
      }
    }
    return 2 * sum / (n * (n - 1.0));
  }
}
