package org.sparkpeft.core.peft;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import java.util.HashMap;
import java.util.Map;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.TensorData;

/**
 * What a method's functions compute with: trained tensors, differentiable in training, and the
 * frozen ones of its state.
 */
public final class MethodTensors {
  private final Map<String, NDArray> parameters;
  private final Map<String, NDArray> state;

  public MethodTensors(Map<String, NDArray> parameters, Map<String, NDArray> state) {
    this.parameters = parameters;
    this.state = state;
  }

  /**
   * A trained tensor, a view of the flat leaf.
   *
   * @throws IllegalArgumentException if there is none of that name
   */
  public NDArray parameter(String name) {
    return get(parameters, name);
  }

  /**
   * A frozen tensor: float32, uint8 for bytes, or int64 for other integers so that it can index.
   *
   * @throws IllegalArgumentException if there is none of that name
   */
  public NDArray state(String name) {
    return get(state, name);
  }

  /** Whether the state has a tensor of that name. */
  public boolean hasState(String name) {
    return state.containsKey(name);
  }

  private static NDArray get(Map<String, NDArray> tensors, String name) {
    NDArray tensor = tensors.get(name);
    if (tensor == null) {
      throw new IllegalArgumentException("no tensor named " + name);
    }
    return tensor;
  }

  /** The tensors of a state, owned by {@code manager}. */
  public static Map<String, NDArray> load(NDManager manager, MethodState state) {
    Map<String, NDArray> loaded = new HashMap<>();
    state.tensors().forEach((name, tensor) -> loaded.put(name, array(manager, tensor)));
    return loaded;
  }

  private static NDArray array(NDManager manager, TensorData tensor) {
    Shape shape = new Shape(tensor.shape().stream().mapToLong(Integer::longValue).toArray());
    if (tensor.dtype() == DType.U8) {
      return manager.create(tensor.raw(), shape, DataType.UINT8);
    }
    return tensor.dtype().isFloating()
        ? manager.create(tensor.toFloats(), shape)
        : manager.create(tensor.toLongs(), shape);
  }
}
