package org.sparkpeft.core.train;

import java.util.List;
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

  /** Their names in a configuration. */
  List<String> NAMES = List.of("adamw", "adamw_8bit", "adafactor", "lion", "sm3", "sgd");

  /** Bytes that {@link #of}'s optimiser remembers, before an entry is restarted. */
  static long bytes(TrainConfig config, ParameterLayout layout) {
    long floats = (long) Float.BYTES * layout.size();
    return switch (config.optimizer()) {
      case "adamw" -> 2 * floats;
      case "lion" -> floats;
      case "adamw_8bit" -> AdamW8Bit.bytes(layout);
      case "adafactor" -> (long) Double.BYTES * matrices(layout);
      case "sm3" -> (long) Float.BYTES * matrices(layout);
      default -> 0;
    };
  }

  private static long matrices(ParameterLayout layout) {
    return layout.entries().stream().mapToLong(entry -> TensorMatrix.of(entry).state()).sum();
  }

  /**
   * @param role of each tensor of the layout that belongs to the method; others learn at the common
   *     rate and decay
   */
  static Optimizer of(
      TrainConfig config, ParameterLayout layout, Function<String, TensorRole> role) {
    double beta1 = config.adamBeta1();
    double beta2 = config.adamBeta2();
    double decay = config.weightDecay();
    TensorRates rates = TensorRates.of(layout, role);
    return switch (config.optimizer()) {
      case "sgd" -> new Sgd(decay, rates);
      case "lion" -> new Lion(layout.size(), beta1, beta2, decay, rates);
      case "sm3" -> new Sm3(layout, decay, TensorRates.ofEach(layout, role));
      case "adafactor" -> new Adafactor(layout, beta2, decay, TensorRates.ofEach(layout, role));
      case "adamw_8bit" ->
          new AdamW8Bit(
              beta1, beta2, config.adamEpsilon(), decay, TensorRates.ofEach(layout, role));
      case "adamw" -> new AdamW(layout.size(), beta1, beta2, config.adamEpsilon(), decay, rates);
      default -> throw new IllegalArgumentException("no optimiser " + config.optimizer());
    };
  }
}
