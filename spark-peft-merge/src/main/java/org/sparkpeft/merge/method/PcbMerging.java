package org.sparkpeft.merge.method;

import java.util.Arrays;
import java.util.List;
import org.sparkpeft.core.vector.TaskVector;

/**
 * PCB-Merging (Du et al., "Parameter Competition Balancing for Model Merging", 2024), as its
 * released code does it, which differs from the formulas of the paper. For T vectors v_t:
 *
 * <ol>
 *   <li>magnitudes are clamped to their 0.01 % and 99.99 % order statistics
 *   <li>importance within a vector: exp(T n^2), n the clamped magnitude scaled to 0..1
 *   <li>agreement between vectors: tanh(v_t * sum of all v)
 *   <li>their product, raised to its (1 - density) order statistic and scaled to 0..1, is the
 *       entry's share m_t
 *   <li>result = lambda * sum(w_t v_t m_t) / sum(m_t), of clamped v_t
 * </ol>
 *
 * Weights are the factors per task, 1 if not searched for.
 *
 * @param density fraction of entries that compete, published 0.05..0.2
 * @param lambda factor on the result
 * @param clampOutliers whether to do the first step
 */
public record PcbMerging(double density, double lambda, boolean clampOutliers)
    implements MergeMethod {
  private static final double TAIL = 1e-4;

  public PcbMerging {
    if (!(density > 0 && density <= 1) || !Double.isFinite(lambda)) {
      throw new IllegalArgumentException(
          "density must be in (0, 1] and lambda finite, got " + density + " and " + lambda);
    }
  }

  @Override
  public TaskVector merge(List<TaskVector> vectors, List<Double> weights) {
    Inputs inputs = Inputs.of(vectors, weights);
    Inputs clamped = clampOutliers ? inputs.mapping((t, v) -> clamp(v)) : inputs;
    double[][] shares = new double[inputs.count()][];
    double[] total = total(inputs);
    for (int t = 0; t < shares.length; t++) {
      shares[t] = shares(inputs, clamped, t, total);
    }
    float[] merged = new float[inputs.size()];
    double[] numerator = new double[shares.length];
    double[] denominator = new double[shares.length];
    for (int i = 0; i < merged.length; i++) {
      for (int t = 0; t < shares.length; t++) {
        denominator[t] = shares[t][i];
        numerator[t] = inputs.weight(t) * clamped.value(t, i) * shares[t][i];
      }
      double by = Math.max(Inputs.sum(denominator, shares.length), 1e-12);
      merged[i] = (float) (lambda * Inputs.sum(numerator, shares.length) / by);
    }
    return TaskVector.wrap(inputs.layout(), merged);
  }

  private static double[] total(Inputs inputs) {
    double[] total = new double[inputs.size()];
    double[] terms = new double[inputs.count()];
    for (int i = 0; i < total.length; i++) {
      for (int t = 0; t < terms.length; t++) {
        terms[t] = inputs.value(t, i);
      }
      total[i] = Inputs.sum(terms, terms.length);
    }
    return total;
  }

  private double[] shares(Inputs inputs, Inputs clamped, int t, double[] total) {
    double[] importance = new double[total.length];
    for (int i = 0; i < importance.length; i++) {
      importance[i] = Math.abs(clamped.value(t, i));
    }
    scaleToUnit(importance);
    double[] score = importance;
    for (int i = 0; i < score.length; i++) {
      double within = StrictMath.exp(inputs.count() * importance[i] * importance[i]);
      score[i] = within * StrictMath.tanh(inputs.value(t, i) * total[i]);
    }
    double[] sorted = score.clone();
    Arrays.sort(sorted);
    int cut = (int) Math.floor(score.length * (1 - density) + 1e-9);
    double threshold = sorted[Math.min(cut, sorted.length - 1)];
    for (int i = 0; i < score.length; i++) {
      score[i] = Math.max(score[i], threshold);
    }
    return scaleToUnit(score);
  }

  /** Maps the least to 0 and the greatest to 1, in place; equal values to 0. */
  private static double[] scaleToUnit(double[] values) {
    double least = Double.POSITIVE_INFINITY;
    double greatest = Double.NEGATIVE_INFINITY;
    for (double value : values) {
      least = Math.min(least, value);
      greatest = Math.max(greatest, value);
    }
    for (int i = 0; i < values.length; i++) {
      values[i] = greatest > least ? (values[i] - least) / (greatest - least) : 0;
    }
    return values;
  }

  private static float[] clamp(float[] values) {
    float[] sorted = new float[values.length];
    for (int i = 0; i < values.length; i++) {
      sorted[i] = Math.abs(values[i]);
    }
    Arrays.sort(sorted);
    int last = values.length - 1;
    float low = sorted[Math.min(last, (int) Math.floor(values.length * TAIL))];
    int top = (int) Math.floor(values.length * (1 - TAIL) - 1);
    float high = sorted[Math.max(0, Math.min(last, top))];
    for (int i = 0; i < values.length; i++) {
      float magnitude = Math.min(Math.max(Math.abs(values[i]), low), Math.max(low, high));
      values[i] = Math.signum(values[i]) * magnitude;
    }
    return values;
  }
}
