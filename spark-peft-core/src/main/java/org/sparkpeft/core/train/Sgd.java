package org.sparkpeft.core.train;

/** {@code p -= rate (decay p + g)} without momentum. */
record Sgd(double weightDecay) implements Optimizer {

  @Override
  public void step(float[] parameters, float[] gradient, double rate) {
    float keep = (float) (1 - rate * weightDecay);
    float factor = (float) rate;
    for (int i = 0; i < parameters.length; i++) {
      parameters[i] = keep * parameters[i] - factor * gradient[i];
    }
  }
}
