package org.sparkpeft.core.peft.reparam;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.engine.TorchEngine;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * A method whose effect on a linear layer is another weight. Tensors of one layer are named {@code
 * path.something}; a name without a dot is shared by all.
 */
interface WeightMethod extends AttachedMethod {

  /** The layers acted on. */
  List<ModuleSpec> layers();

  /**
   * The effective weight {@code [out, in]} of a layer.
   *
   * @param weight the frozen weight {@code [out, in]}; not to be changed
   * @param training there when regularisation such as dropout applies
   */
  NDArray weight(
      ModuleSpec layer, NDArray weight, MethodTensors tensors, Optional<TuningContext> training);

  @Override
  default List<Modification> modifications(MethodTensors tensors, TuningContext context) {
    Optional<TuningContext> training = context.training() ? Optional.of(context) : Optional.empty();
    List<Modification> modifications = new ArrayList<>();
    for (ModuleSpec layer : layers()) {
      modifications.add(
          Modification.weight(
              layer.path(), w -> weight(layer, inStep(w, context), tensors, training)));
    }
    return modifications;
  }

  /** The same values, but what is computed from them belongs to the step, not to the base. */
  private static NDArray inStep(NDArray weight, TuningContext context) {
    NDArray view = weight.reshape(weight.getShape());
    view.attach(context.manager());
    return view;
  }

  @Override
  default Map<String, float[]> fuse(
      ParameterVector parameters, MethodState state, BaseWeights base) {
    Map<String, float[]> fused = new LinkedHashMap<>();
    for (ModuleSpec layer : layers()) {
      String name = layer.path() + ".weight";
      try (NDManager manager = ComputeDevice.cpu().newManager()) {
        NDArray weight =
            TorchEngine.tensor(manager, base.tensor(name), List.of(layer.out(), layer.in()));
        MethodTensors tensors = tensorsOf(layer, manager, parameters, state);
        fused.put(name, weight(layer, weight, tensors, Optional.empty()).toFloatArray());
      }
    }
    return fused;
  }

  private MethodTensors tensorsOf(
      ModuleSpec layer, NDManager manager, ParameterVector parameters, MethodState state) {
    Map<String, NDArray> trained = new HashMap<>();
    shapes()
        .forEach(
            (name, shape) -> {
              if (concerns(layer, name)) {
                trained.put(name, TorchEngine.tensor(manager, parameters.tensor(name), shape));
              }
            });
    Map<String, TensorData> kept = new HashMap<>(state.tensors());
    kept.keySet().removeIf(name -> !concerns(layer, name));
    return new MethodTensors(trained, MethodTensors.load(manager, MethodState.of(kept)));
  }

  private static boolean concerns(ModuleSpec layer, String name) {
    return name.startsWith(layer.path() + ".") || name.indexOf('.') < 0;
  }
}
