package org.sparkpeft.core.peft.reparam;

import ai.djl.ndarray.NDArray;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.peft.Dropout;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;

/** A method that adds a product of two matrices to a weight. */
interface LowRankMethod extends WeightMethod {

  /**
   * Factors of the change {@code up down}.
   *
   * @param down {@code [k, in]}
   * @param up {@code [out, k]}
   */
  record Factors(NDArray down, NDArray up) {}

  Factors factors(ModuleSpec layer, MethodTensors tensors);

  /** Probability of dropping an entry of the branch's input while training. */
  double dropout();

  @Override
  default NDArray weight(
      ModuleSpec layer, NDArray weight, MethodTensors tensors, Optional<TuningContext> training) {
    Factors factors = factors(layer, tensors);
    return factors.up().matMul(factors.down()).add(weight);
  }

  @Override
  default List<Modification> modifications(MethodTensors tensors, TuningContext context) {
    List<Modification> modifications = new ArrayList<>();
    for (ModuleSpec layer : layers()) {
      Factors factors = factors(layer, tensors);
      modifications.add(
          Modification.parallel(
              layer.path(),
              x ->
                  Linear.of(
                      Linear.of(dropped(layer, x, dropout(), context), factors.down(), null),
                      factors.up(),
                      null)));
    }
    return modifications;
  }

  /** The layer's input with some entries dropped while training. */
  static NDArray dropped(ModuleSpec layer, NDArray x, double probability, TuningContext context) {
    if (!context.training() || probability == 0) {
      return x;
    }
    Philox random = context.random().child(Philox.hash(layer.path()));
    return Dropout.apply(x, probability, random);
  }
}
