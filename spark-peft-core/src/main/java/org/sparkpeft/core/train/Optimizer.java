package org.sparkpeft.core.train;

import java.util.function.Function;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * Turns a gradient into an update of the flat parameters. Holds the moments of one client's
 * training in one round. Plain float loops: a pass over the flat array costs less than one call
 * into the engine for small adapters, and gives the same bits everywhere.
 */
interface Optimizer extends StepObserver.OptimizerMoments {

  /**
   * Updates {@code parameters} in place.
   *
   * @param gradient same length
   * @param rate learning rate of this update
   */
  void step(float[] parameters, float[] gradient, double rate);

  /** Floats that {@link #of}'s optimiser remembers of each entry, before one is restarted. */
  static int momentsPerEntry(TrainConfig config) {
    return config.optimizer().equals("sgd") ? 0 : 2;
  }

  /**
   * @param role of each tensor of the layout that belongs to the method; others learn at the common
   *     rate and decay
   */
  static Optimizer of(
      TrainConfig config, ParameterLayout layout, Function<String, TensorRole> role) {
    TensorRates rates = TensorRates.of(layout, role);
    return config.optimizer().equals("sgd")
        ? new Sgd(config.weightDecay(), rates)
        : new AdamW(
            layout.size(),
            config.adamBeta1(),
            config.adamBeta2(),
            config.adamEpsilon(),
            config.weightDecay(),
            rates);
  }
}
