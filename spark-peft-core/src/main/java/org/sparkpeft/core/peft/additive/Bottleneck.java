package org.sparkpeft.core.peft.additive;

import ai.djl.ndarray.NDArray;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.random.Philox;

/**
 * One small network beside a layer: {@code A(h) = W_u f(W_d h + b_d) + b_u} with {@code W_d [size,
 * hidden]}, {@code W_u [hidden, size]}.
 *
 * @param path path of the layer it belongs to; the tensors are named after it
 * @param hidden inputs and outputs
 * @param size hidden units
 */
record Bottleneck(String path, int hidden, int size) {
  /** How it starts; all but the first change the output from the beginning. */
  static final List<String> STARTS = List.of("lora", "bert", "houlsby");

  /** For methods with a gate that starts at zero instead: nothing would learn from two zeros. */
  static final String OPEN = "open";

  String down() {
    return path + ".adapter_down.weight";
  }

  String downBias() {
    return path + ".adapter_down.bias";
  }

  String up() {
    return path + ".adapter_up.weight";
  }

  String upBias() {
    return path + ".adapter_up.bias";
  }

  Map<String, List<Integer>> shapes() {
    Map<String, List<Integer>> shapes = new LinkedHashMap<>();
    shapes.put(down(), List.of(size, hidden));
    shapes.put(downBias(), List.of(size));
    shapes.put(up(), List.of(hidden, size));
    shapes.put(upBias(), List.of(hidden));
    return shapes;
  }

  /**
   * {@code lora}: W_d uniform within 1/sqrt(hidden), W_u zero; {@code bert}: both N(0, 0.02);
   * {@code houlsby}: both N(0, 0.01) cut at two deviations. Biases are zero.
   */
  Map<String, float[]> initialValues(long seed, String start) {
    Philox random = Philox.of(seed, "bottleneck", Philox.hash(path));
    int entries = Math.multiplyExact(size, hidden);
    Map<String, float[]> values = new LinkedHashMap<>();
    boolean uniform = start.equals("lora") || start.equals(OPEN);
    values.put(
        down(),
        uniform
            ? VirtualTokens.uniform(random.child(0), entries, hidden)
            : normal(random.child(0), entries, start));
    values.put(downBias(), new float[size]);
    values.put(
        up(),
        start.equals("lora")
            ? new float[entries]
            : uniform
                ? VirtualTokens.uniform(random.child(1), entries, size)
                : normal(random.child(1), entries, start));
    values.put(upBias(), new float[hidden]);
    return values;
  }

  private static float[] normal(Philox random, int entries, String start) {
    if (start.equals("bert")) {
      return random.gaussian(entries, 0.02);
    }
    float[] values = new float[entries];
    for (int i = 0; i < entries; i++) {
      values[i] = truncated(random.child(i));
    }
    return values;
  }

  /** N(0, 0.01) within two deviations. */
  private static float truncated(Philox random) {
    for (long draw = 0; ; draw++) {
      double z = random.gaussianAt(draw);
      if (Math.abs(z) <= 2) {
        return (float) (0.01 * z);
      }
    }
  }

  /** {@code A(h)}, shaped as {@code h}. */
  NDArray apply(MethodTensors tensors, UnaryOperator<NDArray> function, NDArray h) {
    NDArray down = tensors.parameter(down());
    return apply(tensors, function, h, down, tensors.parameter(up()));
  }

  /** The same with other weights. */
  NDArray apply(
      MethodTensors tensors, UnaryOperator<NDArray> function, NDArray h, NDArray down, NDArray up) {
    NDArray low = Linear.of(h, down, tensors.parameter(downBias())); // [..., size]
    return Linear.of(function.apply(low), up, tensors.parameter(upBias()));
  }
}
