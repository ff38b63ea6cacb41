package org.sparkpeft.core.train;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101), step t from 1:
 *
 * <pre>
 * p -= rate decay p
 * m  = beta1 m + (1 - beta1) g        v  = beta2 v + (1 - beta2) g^2
 * p -= rate / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
 * </pre>
 *
 * <p>An entry that was restarted counts t from there.
 */
final class AdamW implements Optimizer {
  private final float[] first;
  private final float[] second;
  private final double beta1;
  private final double beta2;
  private final double epsilon;
  private final double weightDecay;
  private final TensorRates rates;

  /** beta1^t and beta2^t of each entry, once one was restarted. */
  private double @Nullable [] powers1;

  private double @Nullable [] powers2;
  private double power1 = 1;
  private double power2 = 1;

  AdamW(
      int size, double beta1, double beta2, double epsilon, double weightDecay, TensorRates rates) {
    this.first = new float[size];
    this.second = new float[size];
    this.beta1 = beta1;
    this.beta2 = beta2;
    this.epsilon = epsilon;
    this.weightDecay = weightDecay;
    this.rates = rates;
  }

  @Override
  public void step(float[] parameters, float[] gradient, double rate) {
    power1 *= beta1;
    power2 *= beta2;
    for (TensorRates.Stretch stretch : rates.stretches()) {
      double own = rate * stretch.rate();
      float keep = (float) (1 - own * (stretch.decayed() ? weightDecay : 0));
      if (powers1 == null || powers2 == null) {
        step(parameters, gradient, stretch, own, keep);
      } else {
        stepByAge(parameters, gradient, stretch, own, keep, powers1, powers2);
      }
    }
  }

  private void step(
      float[] parameters, float[] gradient, TensorRates.Stretch stretch, double rate, float keep) {
    float size = (float) (rate / (1 - power1));
    float unbias = (float) (1 / Math.sqrt(1 - power2));
    float b1 = (float) beta1;
    float c1 = (float) (1 - beta1);
    float b2 = (float) beta2;
    float c2 = (float) (1 - beta2);
    float eps = (float) epsilon;
    int end = stretch.to();
    for (int i = stretch.from(); i < end; i++) {
      float g = gradient[i];
      float m = b1 * first[i] + c1 * g;
      float v = b2 * second[i] + c2 * g * g;
      first[i] = m;
      second[i] = v;
      float root = (float) Math.sqrt(v) * unbias + eps;
      parameters[i] = keep * parameters[i] - size * (m / root);
    }
  }

  private void stepByAge(
      float[] parameters,
      float[] gradient,
      TensorRates.Stretch stretch,
      double rate,
      float keep,
      double[] ownPowers1,
      double[] ownPowers2) {
    for (int i = stretch.from(); i < stretch.to(); i++) {
      ownPowers1[i] *= beta1;
      ownPowers2[i] *= beta2;
      double m = beta1 * first[i] + (1 - beta1) * gradient[i];
      double v = beta2 * second[i] + (1 - beta2) * gradient[i] * gradient[i];
      first[i] = (float) m;
      second[i] = (float) v;
      double root = Math.sqrt(v / (1 - ownPowers2[i])) + epsilon;
      parameters[i] = (float) (keep * parameters[i] - rate * (m / (1 - ownPowers1[i])) / root);
    }
  }

  @Override
  public void restart(int index, double firstMoment, double secondMoment, int age) {
    if (powers1 == null || powers2 == null) {
      powers1 = new double[first.length];
      powers2 = new double[first.length];
      Arrays.fill(powers1, power1);
      Arrays.fill(powers2, power2);
    }
    first[index] = (float) firstMoment;
    second[index] = (float) secondMoment;
    powers1[index] = Math.pow(beta1, age);
    powers2[index] = Math.pow(beta2, age);
  }

  @Override
  public void seed(int index, double mean, double meanSquare, int age) {
    double unbias1 = 1 - Math.pow(beta1, age);
    double unbias2 = 1 - Math.pow(beta2, age);
    restart(index, mean * unbias1, meanSquare * unbias2, age);
  }
}
