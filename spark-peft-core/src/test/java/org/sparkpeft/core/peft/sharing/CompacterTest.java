package org.sparkpeft.core.peft.sharing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.LayerPaths;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.nn.Activation;
import org.sparkpeft.core.nn.LayerNorm;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.ModifiedForward;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TuningContext;

class CompacterTest {
  private static ModuleTree modules(int layers, int hidden) {
    List<LayerPaths> paths = new ArrayList<>();
    for (int i = 0; i < layers; i++) {
      String l = "l." + i + ".";
      paths.add(
          new LayerPaths(
              l + "q", l + "k", l + "v", l + "o", l + "n1", l + "up", l + "down", l + "n2"));
    }
    return new ModuleTree(
        List.of(), new ModuleTree.Structure(paths, hidden, 2, hidden, "words", ""));
  }

  private static Compacter.Config config(int n, int k, int reduction) {
    return new Compacter.Config(n, k, reduction, "gelu_new", List.of());
  }

  private static NDArray tensor(NDManager manager, long[] shape, float... values) {
    return manager.create(values, new Shape(shape));
  }

  @Test
  void workedExample() {
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      NDArray rules = tensor(manager, new long[] {2, 2, 2}, 1, 0, 0, 1, 0, 1, 1, 0);
      // B_1 = [1, 2]t and B_2 = [3, 4]t, as s_i [2, 1] times t_i [1, 1].
      NDArray left = tensor(manager, new long[] {2, 2, 1}, 1, 2, 3, 4);
      NDArray right = tensor(manager, new long[] {2, 1, 1}, 1, 1);
      NDArray h = PhmAdapters.dense(rules, left, right);
      assertThat(h.getShape()).isEqualTo(new Shape(4, 2));
      assertThat(h.toFloatArray()).containsExactly(1, 3, 2, 4, 3, 1, 4, 2);
      NDArray x = tensor(manager, new long[] {1, 4}, 1, 1, 1, 1);
      assertThat(x.matMul(h).toFloatArray()).containsExactly(10, 10);
    }
  }

  @Test
  void isASumOfKroneckerProductsAtAnyRank() {
    int n = 3;
    int k = 2;
    int rows = 2;
    int columns = 4;
    float[] rules = Bench.random(n * n * n, 1);
    float[] s = Bench.random(n * rows * k, 2);
    float[] t = Bench.random(n * k * columns, 3);
    float[] expected = new float[n * rows * n * columns];
    for (int i = 0; i < n; i++) {
      for (int p = 0; p < n; p++) {
        for (int q = 0; q < n; q++) {
          for (int u = 0; u < rows; u++) {
            for (int v = 0; v < columns; v++) {
              float b = 0;
              for (int z = 0; z < k; z++) {
                b += s[(i * rows + u) * k + z] * t[(i * k + z) * columns + v];
              }
              expected[(p * rows + u) * n * columns + q * columns + v] +=
                  rules[(i * n + p) * n + q] * b;
            }
          }
        }
      }
    }
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      assertThat(
              PhmAdapters.dense(
                      tensor(manager, new long[] {n, n, n}, rules),
                      tensor(manager, new long[] {n, rows, k}, s),
                      tensor(manager, new long[] {n, k, columns}, t))
                  .toFloatArray())
          .containsExactly(expected, Offset.offset(1e-5f));
    }
  }

  @Test
  void parametersOfT5Base() {
    ModuleTree t5 = modules(24, 768);
    assertThat(Bench.parameters(new Compacter().attach(config(4, 1, 32), t5)))
        .isEqualTo(48 * 2376 + 64)
        .isEqualTo(114_112);
    assertThat(
            Bench.parameters(
                new CompacterPp()
                    .attach(new CompacterPp.Config(4, 1, 32, "gelu_new", List.of()), t5)))
        .isEqualTo(57_024 + 64);
    assertThat(114_112 + 62 * 768).isEqualTo(161_728);
  }

  @Test
  void rulesAreOneTensorThatDecayLeavesAlone() {
    AttachedMethod method = new Compacter().attach(config(4, 2, 2), modules(2, 16));
    assertThat(method.shapes().keySet().stream().filter(name -> name.contains("rule")))
        .containsExactly("shared.phm_rule");
    assertThat(method.role("shared.phm_rule").decayed()).isFalse();
    assertThat(method.role("l.0.o.compacter_down.W_left")).isEqualTo(TensorRole.FACTOR);
    assertThat(method.role("l.0.o.compacter_down.b")).isEqualTo(TensorRole.LINEAR);
    Map<String, float[]> start = method.initialValues(1, MethodState.EMPTY, name -> new float[0]);
    double squares = 0;
    for (float rule : Bench.get(start, "shared.phm_rule")) {
      squares += (double) rule * rule;
    }
    assertThat(Math.sqrt(squares / 64)).isCloseTo(1e-4, within(3e-5));
    float bound = (float) Math.sqrt(12.0 / (4 + 2));
    assertThat(Bench.get(start, "l.1.down.compacter_up.W_right")).hasSize(4 * 2 * 4);
    for (float s : Bench.get(start, "l.1.down.compacter_up.W_right")) {
      assertThat(Math.abs(s)).isLessThanOrEqualTo(bound);
    }
  }

  @Test
  void actsBeforeTheResidualConnectionOfItsBlocks() {
    AttachedMethod both = new Compacter().attach(config(2, 1, 2), modules(1, 4));
    AttachedMethod feedForward =
        new CompacterPp().attach(new CompacterPp.Config(2, 1, 2, "relu", List.of()), modules(1, 4));
    Map<String, float[]> values =
        new HashMap<>(both.initialValues(1, MethodState.EMPTY, name -> new float[0]));
    float[] bias = {3, -1, 0.5f, 2};
    values.put("l.0.o.compacter_up.b", bias);
    values.put("l.0.down.compacter_up.b", bias);
    float[] input = Bench.random(12, 5);
    float[] output = Bench.random(12, 6);
    float[] moved = output.clone();
    for (int i = 0; i < moved.length; i++) {
      moved[i] += bias[i % 4];
    }
    // Rules of 1e-4 leave nothing but the bias.
    Offset<Float> nearly = Offset.offset(1e-2f);
    float[] expected = residual(null, Map.of(), "l.0.o", input, moved);
    assertThat(residual(both, values, "l.0.o", input, output)).containsExactly(expected, nearly);
    assertThat(residual(both, values, "l.0.down", input, output)).containsExactly(expected, nearly);
    assertThat(residual(feedForward, values, "l.0.down", input, output))
        .containsExactly(expected, nearly);
    assertThat(residual(feedForward, values, "l.0.o", input, output))
        .containsExactly(residual(null, Map.of(), "l.0.o", input, output));
    values.put("l.0.o.compacter_up.b", new float[4]);
    assertThat(residual(both, values, "l.0.o", input, output))
        .as("the start is nearly the base")
        .containsExactly(residual(null, Map.of(), "l.0.o", input, output), nearly);
  }

  @Test
  void computesTheFormula() {
    AttachedMethod method = new Compacter().attach(config(2, 1, 2), modules(1, 4));
    Map<String, float[]> values = new HashMap<>();
    int seed = 0;
    for (Map.Entry<String, List<Integer>> entry : method.shapes().entrySet()) {
      int size = entry.getValue().stream().reduce(1, (a, b) -> a * b);
      values.put(entry.getKey(), Bench.random(size, ++seed));
    }
    float[] input = Bench.random(12, 50);
    float[] output = Bench.random(12, 60);
    float[] expected;
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      NDArray rules = tensor(manager, new long[] {2, 2, 2}, Bench.get(values, "shared.phm_rule"));
      String name = "l.0.o.compacter_";
      NDArray down =
          PhmAdapters.dense(
              rules,
              tensor(manager, new long[] {2, 2, 1}, Bench.get(values, name + "down.W_left")),
              tensor(manager, new long[] {2, 1, 1}, Bench.get(values, name + "down.W_right")));
      NDArray up =
          PhmAdapters.dense(
              rules,
              tensor(manager, new long[] {2, 1, 1}, Bench.get(values, name + "up.W_left")),
              tensor(manager, new long[] {2, 1, 2}, Bench.get(values, name + "up.W_right")));
      NDArray o = tensor(manager, new long[] {3, 4}, output);
      NDArray low = o.matMul(down).add(manager.create(Bench.get(values, name + "down.b")));
      NDArray high =
          Activation.GELU_NEW
              .apply(low)
              .matMul(up)
              .add(manager.create(Bench.get(values, name + "up.b")));
      expected = residual(null, Map.of(), "l.0.o", input, o.add(high).toFloatArray());
    }
    assertThat(residual(method, values, "l.0.o", input, output))
        .containsExactly(expected, Offset.offset(1e-5f));
  }

  /** What follows a block, {@code [3, 4]}; of the plain model where there is no method. */
  private static float[] residual(
      @org.jspecify.annotations.Nullable AttachedMethod method,
      Map<String, float[]> values,
      String path,
      float[] input,
      float[] output) {
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      Tuning tuning = Tuning.NONE;
      if (method != null) {
        Map<String, NDArray> views = new HashMap<>();
        method
            .shapes()
            .forEach(
                (name, shape) ->
                    views.put(
                        name,
                        tensor(
                            manager,
                            shape.stream().mapToLong(Integer::longValue).toArray(),
                            Bench.get(values, name))));
        tuning =
            ModifiedForward.of(
                method.modifications(
                    new MethodTensors(views, Map.of()),
                    TuningContext.inference(manager, Bench.batch(1, 3))));
      }
      LayerNorm norm =
          new LayerNorm("n", manager.ones(new Shape(4)), manager.zeros(new Shape(4)), 1e-12f);
      return tuning
          .residual(
              path,
              norm,
              tensor(manager, new long[] {1, 3, 4}, input),
              tensor(manager, new long[] {1, 3, 4}, output))
          .toFloatArray();
    }
  }

  @Test
  void refusesWhatDoesNotFit() {
    assertThatThrownBy(() -> new Compacter().attach(config(3, 1, 2), modules(1, 16)))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("phm_dim")
        .hasMessageContaining("16, got 3");
    assertThatThrownBy(() -> new Compacter().attach(config(4, 1, 2), new ModuleTree(List.of())))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("blocks");
    assertThatThrownBy(() -> new Compacter.Config(0, 0, 0, "gelu_old", List.of()))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("phm_dim")
        .hasMessageContaining("phm_rank")
        .hasMessageContaining("reduction_factor")
        .hasMessageContaining("gelu_new");
  }
}
