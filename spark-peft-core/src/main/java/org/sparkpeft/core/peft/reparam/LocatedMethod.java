package org.sparkpeft.core.peft.reparam;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * A method that trains n numbers of a layer, {@code [n]}, at frozen places of a matrix {@code [out,
 * in]}, which is linear in them: averages of clients are exact. The places are the method's state,
 * one number each; files get rows and columns {@code [2, n]}.
 */
interface LocatedMethod extends WeightMethod {

  /** How many numbers of a layer are trained. */
  int count(ModuleSpec layer);

  /** Name of a layer's trained tensor. */
  String trained(ModuleSpec layer);

  /** Name of a layer's places, in the state and in files. */
  String placed(ModuleSpec layer);

  /** The places that the configuration implies, if it does. */
  Optional<int[]> impliedPlaces(ModuleSpec layer);

  /** The places when the configuration implies none. */
  int[] freePlaces(ModuleSpec layer, long seed);

  /** The matrix that is zero but for the trained numbers. */
  default NDArray dense(ModuleSpec layer, MethodTensors tensors) {
    NDArray trained = tensors.parameter(trained(layer));
    NDManager manager = trained.getManager();
    return manager
        .zeros(new Shape((long) layer.out() * layer.in()))
        .scatter(tensors.state(placed(layer)), trained, 0)
        .reshape(layer.out(), layer.in());
  }

  @Override
  default Map<String, List<Integer>> shapes() {
    Map<String, List<Integer>> shapes = new LinkedHashMap<>();
    layers().forEach(layer -> shapes.put(trained(layer), List.of(count(layer))));
    return shapes;
  }

  @Override
  default MethodState initialState(long seed, BaseWeights base) {
    Map<ModuleSpec, int[]> places = new LinkedHashMap<>();
    for (ModuleSpec layer : layers()) {
      places.put(layer, impliedPlaces(layer).orElseGet(() -> freePlaces(layer, seed)));
    }
    return state(places);
  }

  private MethodState state(Map<ModuleSpec, int[]> places) {
    MethodState.Builder state = new MethodState.Builder();
    places.forEach((layer, at) -> state.integers(placed(layer), List.of(at.length), at));
    return state.build();
  }

  @Override
  default TensorRole role(String tensor) {
    return TensorRole.LINEAR;
  }

  @Override
  default SortedMap<String, TensorData> save(ParameterVector parameters, MethodState state) {
    Map<String, TensorData> file = new TreeMap<>();
    for (ModuleSpec layer : layers()) {
      String values = AdapterTensors.PREFIX + trained(layer);
      file.put(
          values,
          TensorData.ofFloats(values, List.of(count(layer)), parameters.tensor(trained(layer))));
      String places = AdapterTensors.PREFIX + placed(layer);
      file.put(places, Locations.toFile(places, layer, state.integers(placed(layer))));
    }
    return TensorData.byName(file.values());
  }

  /** The file's places, or those that the configuration implies. */
  @Override
  default Loaded load(AdapterTensors file, BaseWeights base) {
    Map<ModuleSpec, int[]> places = new LinkedHashMap<>();
    for (ModuleSpec layer : layers()) {
      String name = AdapterTensors.PREFIX + placed(layer);
      places.put(
          layer,
          file.has(name)
              ? Locations.ofFile(file.source(), layer, file.take(name, List.of(2, count(layer))))
              : impliedPlaces(layer)
                  .orElseThrow(
                      () ->
                          new FormatException(
                              file.source(),
                              "lacks the tensor "
                                  + name
                                  + ", and no seed in adapter_config.json implies its places")));
    }
    return new Loaded(file.takeAll(shapes()), state(places));
  }
}
