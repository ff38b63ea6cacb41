package org.sparkpeft.merge.method;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Spherical interpolation of any number of vectors, tensor by tensor, as mergekit's multislerp:
 * directions are averaged on the sphere, in the tangent space at their weighted mean m, and the
 * result has the weighted mean length. With u_t = v_t / |v_t|, a_t the angle between u_t and m, and
 * s = sum w_t a_t / sin(a_t) (u_t - cos(a_t) m), it is (cos|s| m + sin|s| s / |s|) sum w_t |v_t|,
 * the weights divided by their sum. Vectors of length zero count for the length only; if the
 * directions cancel, it is the plain weighted mean.
 *
 * <p>All of this lies in the span of the vectors, so their inner products suffice to find what to
 * multiply each with.
 */
public record MultiSlerp() implements BlockwiseMethod {
  private static final double NEARLY_ZERO = 1e-8;

  @Override
  public Share share(double weight) {
    return Share.of(weight);
  }

  @Override
  public void check(List<Share> shares) {
    double total = shares.stream().mapToDouble(Share::weight).sum();
    if (shares.stream().anyMatch(share -> share.weight() < 0) || !(total > 0)) {
      throw new IllegalArgumentException(
          "weights must be 0 or above and not all 0, got " + BlockPlan.weights(shares));
    }
  }

  @Override
  public TensorPlan plan(TensorScan tensor, List<Share> shares, List<KeepRule> trims) {
    double total = shares.stream().mapToDouble(Share::weight).sum();
    double[] weights = shares.stream().mapToDouble(share -> share.weight() / total).toArray();
    double[] coefficients = coefficients(Angles.of(tensor), weights);
    List<Double> factors = new ArrayList<>();
    for (double coefficient : coefficients) {
      factors.add(coefficient);
    }
    return BlockPlan.of(factors, Combination.LINEAR, 1);
  }

  /** What each vector is multiplied by. */
  static double[] coefficients(Angles angles, double[] weights) {
    int n = weights.length;
    double length = 0;
    for (int t = 0; t < n; t++) {
      length += weights[t] * angles.norm(t);
    }
    // Coefficients below are those of directions, not of vectors.
    double meanLength = Math.sqrt(Math.max(0, product(angles, weights, weights)));
    if (meanLength < NEARLY_ZERO) {
      return weights.clone();
    }
    double[] mean = Arrays.stream(weights).map(w -> w / meanLength).toArray();
    double[] tangent = new double[n];
    for (int t = 0; t < n; t++) {
      double[] one = new double[n];
      one[t] = 1;
      double cosine = Math.max(-1, Math.min(1, product(angles, mean, one)));
      double angle = StrictMath.acos(cosine);
      double factor = weights[t] * (angle < 1e-6 ? 1 : angle / StrictMath.sin(angle));
      if (angles.norm(t) > NEARLY_ZERO && Double.isFinite(factor)) {
        tangent[t] += factor;
        for (int u = 0; u < n; u++) {
          tangent[u] -= factor * cosine * mean[u];
        }
      }
    }
    double size = Math.sqrt(Math.max(0, product(angles, tangent, tangent)));
    double along = size < NEARLY_ZERO ? 0 : StrictMath.sin(size) / size;
    double[] coefficients = new double[n];
    for (int t = 0; t < n; t++) {
      double direction = StrictMath.cos(size) * mean[t] + along * tangent[t];
      coefficients[t] = angles.norm(t) > NEARLY_ZERO ? length * direction / angles.norm(t) : 0;
    }
    return coefficients;
  }

  /** Inner product of two combinations of directions. */
  private static double product(Angles angles, double[] a, double[] b) {
    double sum = 0;
    for (int t = 0; t < a.length; t++) {
      for (int u = 0; u < b.length; u++) {
        double cosine = t == u && angles.norm(t) > NEARLY_ZERO ? 1 : angles.cosine(t, u);
        sum += a[t] * b[u] * cosine;
      }
    }
    return sum;
  }
}
