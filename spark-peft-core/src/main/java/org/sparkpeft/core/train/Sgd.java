package org.sparkpeft.core.train;

/** {@code p -= rate (decay p + g)} without momentum. */
record Sgd(double weightDecay, TensorRates rates) implements Optimizer {

  @Override
  public void step(float[] parameters, float[] gradient, double rate) {
    for (TensorRates.Stretch stretch : rates.stretches()) {
      double own = rate * stretch.rate();
      float keep = (float) (1 - own * (stretch.decayed() ? weightDecay : 0));
      float factor = (float) own;
      for (int i = stretch.from(); i < stretch.to(); i++) {
        parameters[i] = keep * parameters[i] - factor * gradient[i];
      }
    }
  }

  /** Remembers nothing. */
  @Override
  public void restart(int index, double first, double second, int age) {}
}
