package org.sparkpeft.core.train;

/**
 * Turns a gradient into an update of the flat parameters. Holds the moments of one client's
 * training in one round. Plain float loops: a pass over the flat array costs less than one call
 * into the engine for small adapters, and gives the same bits everywhere.
 */
interface Optimizer {

  /**
   * Updates {@code parameters} in place.
   *
   * @param gradient same length
   * @param rate learning rate of this update
   */
  void step(float[] parameters, float[] gradient, double rate);

  static Optimizer of(TrainConfig config, int size) {
    return config.optimizer().equals("sgd")
        ? new Sgd(config.weightDecay())
        : new AdamW(
            size,
            config.adamBeta1(),
            config.adamBeta2(),
            config.adamEpsilon(),
            config.weightDecay());
  }
}
