package org.sparkpeft.core.train;

/**
 * AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101), step t from 1:
 *
 * <pre>
 * p -= rate decay p
 * m  = beta1 m + (1 - beta1) g        v  = beta2 v + (1 - beta2) g^2
 * p -= rate / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon)
 * </pre>
 */
final class AdamW implements Optimizer {
  private final float[] first;
  private final float[] second;
  private final double beta1;
  private final double beta2;
  private final double epsilon;
  private final double weightDecay;
  private double power1 = 1;
  private double power2 = 1;

  AdamW(int size, double beta1, double beta2, double epsilon, double weightDecay) {
    this.first = new float[size];
    this.second = new float[size];
    this.beta1 = beta1;
    this.beta2 = beta2;
    this.epsilon = epsilon;
    this.weightDecay = weightDecay;
  }

  @Override
  public void step(float[] parameters, float[] gradient, double rate) {
    power1 *= beta1;
    power2 *= beta2;
    float keep = (float) (1 - rate * weightDecay);
    float size = (float) (rate / (1 - power1));
    float unbias = (float) (1 / Math.sqrt(1 - power2));
    float b1 = (float) beta1;
    float c1 = (float) (1 - beta1);
    float b2 = (float) beta2;
    float c2 = (float) (1 - beta2);
    float eps = (float) epsilon;
    for (int i = 0; i < parameters.length; i++) {
      float g = gradient[i];
      float m = b1 * first[i] + c1 * g;
      float v = b2 * second[i] + c2 * g * g;
      first[i] = m;
      second[i] = v;
      float root = (float) Math.sqrt(v) * unbias + eps;
      parameters[i] = keep * parameters[i] - size * (m / root);
    }
  }
}
