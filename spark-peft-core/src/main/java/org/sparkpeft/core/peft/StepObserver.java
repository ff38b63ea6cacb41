package org.sparkpeft.core.peft;

import java.util.Map;
import java.util.Optional;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * Watches and steers one client's training, update by update: importance scores, masks, budgets.
 * Belongs to one thread. The defaults do nothing.
 */
public interface StepObserver {
  /** Watches nothing. */
  StepObserver NONE = new StepObserver() {};

  /**
   * One optimiser update.
   *
   * @param update number of the update in this training, from 0
   * @param layout names and places of the tensors in the arrays
   * @param parameters current values; may be changed in place
   * @param gradient the update's gradient, clipped; may be changed before the optimiser runs
   * @param probes gradients of the probes asked for, summed as the gradient is, by name
   * @param rate learning rate of the update
   * @param moments the optimiser's memory
   */
  record Update(
      int update,
      ParameterLayout layout,
      float[] parameters,
      float[] gradient,
      Map<String, float[]> probes,
      double rate,
      OptimizerMoments moments) {}

  /** Access to the optimiser's memory of single entries. */
  interface OptimizerMoments {
    /**
     * Starts an entry anew, as if the optimiser had seen {@code age} gradients of it.
     *
     * @param index place in the flat parameters
     * @param first mean of its gradients, as Adam keeps it (biased towards 0)
     * @param second mean of their squares, likewise
     */
    void restart(int index, double first, double second, int age);

    /**
     * Starts an entry anew from gradients of it that the optimiser did not see: afterwards their
     * means, freed from Adam's bias, are these.
     *
     * @param index place in the flat parameters
     * @param mean mean of its gradients
     * @param meanSquare mean of their squares
     * @param age number of them
     */
    default void seed(int index, double mean, double meanSquare, int age) {
      restart(index, mean, meanSquare, age);
    }
  }

  /** Whether the named probe's gradient is wanted in an update. */
  default boolean wants(String probe, int update) {
    return false;
  }

  /** After the backward pass and clipping, before the optimiser. */
  default void beforeStep(Update update) {}

  /**
   * After the optimiser.
   *
   * @return a new state from here on, if it changed
   */
  default Optional<MethodState> afterStep(Update update) {
    return Optional.empty();
  }

  /**
   * What the driver should know when the training is over, to be summed over clients, each weighted
   * by its examples: finite numbers, the same names and sizes on every client.
   */
  default Map<String, float[]> report() {
    return Map.of();
  }
}
