package org.sparkpeft.core.peft;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.engine.LayerScope;
import org.sparkpeft.core.model.ModelInput;
import org.sparkpeft.core.random.Philox;

/**
 * What a method may use in one forward pass.
 *
 * @param manager owner of everything made in the step
 * @param training whether regularisation such as dropout applies
 * @param random random numbers of this step alone
 * @param batch the examples, for their lengths and tasks
 * @param probes leaves whose gradients the method's observer asked for
 * @param lossTerms filled by {@link #addToLoss}
 */
public record TuningContext(
    NDManager manager,
    boolean training,
    Philox random,
    ModelInput batch,
    Probes probes,
    List<NDArray> lossTerms) {

  /** Of a forward pass that is not differentiated. */
  public static TuningContext inference(NDManager manager, ModelInput batch) {
    return new TuningContext(
        manager, false, Philox.of(0, "unused"), batch, Probes.none(), new ArrayList<>());
  }

  /** Adds a number, a tensor with one entry, to the loss of this step. */
  public void addToLoss(NDArray term) {
    LayerScope.addToLoss(term, manager, lossTerms::add);
  }

  /**
   * A tensor of zeros to add to something whose gradient is wanted, for example a frozen weight:
   * the zeros' gradient is that of the whole.
   *
   * @param name name under which {@link StepObserver} gets the gradient
   * @return empty when nobody asked for it in this step
   */
  public Optional<NDArray> probe(String name, Shape shape) {
    return probes.leaf(manager, name, shape);
  }
}
