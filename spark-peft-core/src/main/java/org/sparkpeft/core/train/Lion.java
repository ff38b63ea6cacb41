package org.sparkpeft.core.train;

/**
 * Lion (Chen et al. 2023, arXiv 2302.06675): every entry moves by the rate, in the direction of a
 * mean of its gradients.
 *
 * <pre>
 * p -= rate (sign(beta1 m + (1 - beta1) g) + decay p)      m = beta2 m + (1 - beta2) g
 * </pre>
 *
 * <p>It usually wants a third to a tenth of AdamW's rate, as many times its decay, and beta2 0.99.
 */
final class Lion implements Optimizer {
  private final float[] momentum;
  private final float beta1;
  private final float beta2;
  private final double weightDecay;
  private final TensorRates rates;

  Lion(int size, double beta1, double beta2, double weightDecay, TensorRates rates) {
    this.momentum = new float[size];
    this.beta1 = (float) beta1;
    this.beta2 = (float) beta2;
    this.weightDecay = weightDecay;
    this.rates = rates;
  }

  @Override
  public void step(float[] parameters, float[] gradient, double rate) {
    for (TensorRates.Stretch stretch : rates.stretches()) {
      double own = rate * stretch.rate();
      float keep = (float) (1 - own * (stretch.decayed() ? weightDecay : 0));
      float size = (float) own;
      for (int i = stretch.from(); i < stretch.to(); i++) {
        float g = gradient[i];
        float m = momentum[i];
        parameters[i] = keep * parameters[i] - size * Math.signum(beta1 * m + (1 - beta1) * g);
        momentum[i] = beta2 * m + (1 - beta2) * g;
      }
    }
  }

  @Override
  public void restart(int index, double first, double second, int age) {
    momentum[index] = (float) first;
  }
}
