package org.sparkpeft.core.peft.allocation;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Files of methods that Hugging Face does not have: the trained tensors and the integers of the
 * state. What else a state holds follows from them.
 */
final class StateFiles {
  private StateFiles() {}

  static SortedMap<String, TensorData> save(
      Map<String, List<Integer>> shapes, ParameterVector parameters, MethodState state) {
    List<TensorData> file = new ArrayList<>();
    shapes.forEach(
        (name, shape) ->
            file.add(
                TensorData.ofFloats(AdapterTensors.PREFIX + name, shape, parameters.tensor(name))));
    state
        .tensors()
        .forEach(
            (name, tensor) -> {
              if (!tensor.dtype().isFloating()) {
                file.add(tensor.withName(AdapterTensors.PREFIX + name));
              }
            });
    return TensorData.byName(file);
  }

  /**
   * The integers of a state.
   *
   * @param like a state with the same names and shapes
   * @param limit largest number allowed; the smallest is -1
   */
  static Map<String, int[]> takeIntegers(AdapterTensors file, MethodState like, int limit) {
    Map<String, int[]> all = new LinkedHashMap<>();
    like.tensors()
        .forEach(
            (name, tensor) -> {
              if (!tensor.dtype().isFloating()) {
                String full = AdapterTensors.PREFIX + name;
                long[] longs = file.take(full, tensor.shape()).toLongs();
                int[] values = new int[longs.length];
                for (int i = 0; i < longs.length; i++) {
                  if (longs[i] < -1 || longs[i] > limit) {
                    throw file.wrong(
                        full + " holds " + longs[i] + "; only -1.." + limit + " mean anything");
                  }
                  values[i] = (int) longs[i];
                }
                all.put(name, values);
              }
            });
    return all;
  }
}
