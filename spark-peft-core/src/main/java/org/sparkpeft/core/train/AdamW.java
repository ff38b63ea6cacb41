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

  /** 1 - beta1^t and 1 - beta2^t of each entry, once one was restarted. */
  private float @Nullable [] unbias1;

  private float @Nullable [] unbias2;
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
      if (unbias1 == null || unbias2 == null) {
        step(parameters, gradient, stretch, own, keep);
      } else {
        stepByAge(parameters, gradient, stretch, (float) own, keep, unbias1, unbias2);
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

  /** Vector code as {@link #step(float[], float[], TensorRates.Stretch, double, float)} is. */
  private void stepByAge(
      float[] parameters,
      float[] gradient,
      TensorRates.Stretch stretch,
      float rate,
      float keep,
      float[] unbias1,
      float[] unbias2) {
    float b1 = (float) beta1;
    float c1 = (float) (1 - beta1);
    float b2 = (float) beta2;
    float c2 = (float) (1 - beta2);
    float eps = (float) epsilon;
    int end = stretch.to();
    for (int i = stretch.from(); i < end; i++) {
      float g = gradient[i];
      float u1 = b1 * unbias1[i] + c1;
      float u2 = b2 * unbias2[i] + c2;
      float m = b1 * first[i] + c1 * g;
      float v = b2 * second[i] + c2 * g * g;
      unbias1[i] = u1;
      unbias2[i] = u2;
      first[i] = m;
      second[i] = v;
      float root = (float) Math.sqrt(v / u2) + eps;
      parameters[i] = keep * parameters[i] - rate * (m / u1 / root);
    }
  }

  @Override
  public void restart(int index, double firstMoment, double secondMoment, int age) {
    if (unbias1 == null || unbias2 == null) {
      unbias1 = new float[first.length];
      unbias2 = new float[first.length];
      Arrays.fill(unbias1, (float) (1 - power1));
      Arrays.fill(unbias2, (float) (1 - power2));
    }
    first[index] = (float) firstMoment;
    second[index] = (float) secondMoment;
    unbias1[index] = (float) (1 - Math.pow(beta1, age));
    unbias2[index] = (float) (1 - Math.pow(beta2, age));
  }

  @Override
  public void seed(int index, double mean, double meanSquare, int age) {
    double unbias1 = 1 - Math.pow(beta1, age);
    double unbias2 = 1 - Math.pow(beta2, age);
    restart(index, mean * unbias1, meanSquare * unbias2, age);
  }
}
