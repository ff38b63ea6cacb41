package org.sparkpeft.core.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

class LoraVariantsTest {
  private static final Offset<Float> CLOSE = Offset.offset(1e-5f);

  private static LoraConfig config(int r, double alpha, String init) {
    return new LoraConfig(
        r,
        alpha,
        0,
        TargetModules.of("a"),
        List.of(),
        false,
        init,
        Map.of(),
        Map.of(),
        List.of(),
        List.of());
  }

  private static AttachedMethod attach(LoraConfig config) {
    return new Lora().attach(config, new ModuleTree(List.of(ModuleSpec.linear("a", 2, 2))));
  }

  /** A layer of two inputs and outputs, with a zero bias unless there is another. */
  private static BaseWeights base(float... weight) {
    return name -> name.endsWith("weight") ? weight.clone() : new float[2];
  }

  private static ParameterVector parameters(AttachedMethod method, Map<String, float[]> values) {
    ParameterLayout layout = ParameterLayout.of(method.shapes());
    float[] flat = new float[layout.size()];
    values.forEach(
        (name, tensor) ->
            System.arraycopy(tensor, 0, flat, layout.entry(name).offset(), tensor.length));
    return ParameterVector.wrap(layout, flat);
  }

  private static float[] output(
      AttachedMethod method,
      ParameterVector parameters,
      MethodState state,
      float[] weight,
      float[] bias,
      float... x) {
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      Map<String, NDArray> views = new LinkedHashMap<>();
      method
          .shapes()
          .forEach(
              (name, shape) ->
                  views.put(
                      name,
                      manager.create(
                          parameters.tensor(name),
                          new Shape(shape.stream().mapToLong(i -> i).toArray()))));
      TuningContext context =
          TuningContext.inference(manager, TokenBatch.of(List.of(new int[] {1}), 0));
      MethodTensors tensors = new MethodTensors(views, MethodTensors.load(manager, state));
      Linear layer = new Linear("a", manager.create(weight, new Shape(2, 2)), manager.create(bias));
      return ModifiedForward.of(method.modifications(tensors, context))
          .linear(layer, manager.create(x, new Shape(1, 2)))
          .toFloatArray();
    }
  }

  @Test
  void doraScalesTheRowsOfTheSum() {
    AttachedMethod dora = attach(config(1, 1, "true").withDora());
    float[] w = {3, 4, 0, 2};
    assertThat(dora.initialValues(1, MethodState.EMPTY, base(w)).get("a.lora_magnitude_vector"))
        .containsExactly(5, 2);
    ParameterVector trained =
        parameters(
            dora,
            Map.of(
                "a.lora_A.weight", new float[] {1, 0},
                "a.lora_B.weight", new float[] {1, 1},
                "a.lora_magnitude_vector", new float[] {5, 2}));
    float[] plain = output(dora, trained, MethodState.EMPTY, w, new float[2], 1, 1);
    assertThat(plain).containsExactly(new float[] {7.071068f, 2.683282f}, CLOSE);
    assertThat(output(dora, trained, MethodState.EMPTY, w, new float[] {10, 20}, 1, 1))
        .as("the bias is not scaled")
        .containsExactly(new float[] {17.071068f, 22.683282f}, CLOSE);
    assertThat(dora.fuse(trained, MethodState.EMPTY, base(w)).get("a.weight"))
        .containsExactly(new float[] {3.535534f, 3.535534f, 0.894427f, 1.788854f}, CLOSE);
  }

  @Test
  void pissaStartsAsTheLargestSingularValueAndLeavesTheRest() {
    AttachedMethod pissa = attach(config(1, 1, "pissa"));
    float[] w = {4, 0, 0, 1};
    MethodState state = pissa.initialState(1, base(w));
    Map<String, float[]> start = pissa.initialValues(1, state, base(w));
    assertThat(start.get("a.lora_A.weight")).containsExactly(new float[] {2, 0}, CLOSE);
    assertThat(start.get("a.lora_B.weight")).containsExactly(new float[] {2, 0}, CLOSE);
    assertThat(pissa.fuse(parameters(pissa, start), state, base(w)).get("a.weight"))
        .containsExactly(w, CLOSE);
    ParameterVector trained =
        parameters(
            pissa,
            Map.of(
                "a.lora_A.weight", new float[] {2.2f, 0.1f},
                "a.lora_B.weight", new float[] {1.9f, 0.3f}));
    float[] merged = {4.18f, 0.19f, 0.66f, 1.03f};
    assertThat(pissa.fuse(trained, state, base(w)).get("a.weight")).containsExactly(merged, CLOSE);
    assertThat(output(pissa, trained, state, w, new float[2], 1, 10))
        .containsExactly(new float[] {6.08f, 10.96f}, CLOSE);

    AttachedMethod scaled = attach(config(1, 2, "pissa"));
    assertThat(scaled.initialValues(1, scaled.initialState(1, base(w)), base(w)))
        .satisfies(
            values ->
                assertThat(values.get("a.lora_A.weight"))
                    .containsExactly(new float[] {(float) Math.sqrt(2), 0}, CLOSE));
  }

  @Test
  void oloraStartsFromTheLeadingColumn() {
    AttachedMethod olora = attach(config(1, 3, "olora"));
    float[] w = {3, 1, 4, 2};
    MethodState state = olora.initialState(1, base(w));
    Map<String, float[]> start = olora.initialValues(1, state, base(w));
    assertThat(start.get("a.lora_B.weight")).containsExactly(new float[] {0.6f, 0.8f}, CLOSE);
    assertThat(start.get("a.lora_A.weight")).containsExactly(new float[] {5, 2.2f}, CLOSE);
    assertThat(output(olora, parameters(olora, start), state, w, new float[2], 1, 1))
        .containsExactly(new float[] {4, 6}, CLOSE);
  }

  @Test
  void conversionKeepsTheScalingAndDoublesTheRank() {
    LoraConfig config = config(1, 2, "pissa");
    AttachedMethod pissa = attach(config);
    float[] w = {4, 0, 0, 1};
    MethodState state = pissa.initialState(1, base(w));
    ParameterVector trained =
        parameters(
            pissa,
            Map.of(
                "a.lora_A.weight", new float[] {2.2f, 0.1f},
                "a.lora_B.weight", new float[] {1.9f, 0.3f}));
    AttachedMethod.AsLora lora = pissa.asLora(trained, state).orElseThrow();
    assertThat(lora.config()).isEqualTo(config(2, 4, "true"));
    AttachedMethod plain = attach(lora.config());
    AttachedMethod.Loaded loaded =
        plain.load(new AdapterTensors("converted", lora.tensors()), base(w));
    assertThat(plain.fuse(parameters(plain, loaded.values()), loaded.state(), base(w)))
        .satisfies(
            fused ->
                assertThat(fused.get("a.weight"))
                    .containsExactly(pissa.fuse(trained, state, base(w)).get("a.weight"), CLOSE));
    LoraConfig stabilised =
        new LoraConfig(
            3,
            4,
            0,
            TargetModules.of("a"),
            List.of(),
            true,
            "olora",
            Map.of("a", 2),
            Map.of("a", 3.0),
            List.of(),
            List.of());
    AttachedMethod olora = attach(stabilised);
    MethodState start = olora.initialState(1, base(w));
    LoraConfig converted =
        olora
            .asLora(parameters(olora, olora.initialValues(1, start, base(w))), start)
            .orElseThrow()
            .config();
    assertThat(converted.rankPattern()).isEqualTo(Map.of("a", 4));
    assertThat(converted.alphaPattern().getOrDefault("a", 0.0) / Math.sqrt(4))
        .isCloseTo(3 / Math.sqrt(2), Offset.offset(1e-12));
  }

  @Test
  void biasOfBIsScaled() {
    AttachedMethod lora = attach(config(1, 2, "true").withLoraBias());
    float[] w = {1, 0, 0, 1};
    ParameterVector trained =
        parameters(
            lora,
            Map.of(
                "a.lora_A.weight", new float[] {1, 0},
                "a.lora_B.weight", new float[] {0, 1},
                "a.lora_B.bias", new float[] {3, 0}));
    assertThat(output(lora, trained, MethodState.EMPTY, w, new float[] {1, 1}, 1, 2))
        .containsExactly(1 + 6 + 1, 2 + 2 + 1);
    assertThat(lora.fuse(trained, MethodState.EMPTY, base(w)).get("a.bias")).containsExactly(6, 0);
  }

  @Test
  void trainedBiasesReplaceThoseOfTheBase() {
    ModuleTree modules =
        new ModuleTree(
            List.of(
                ModuleSpec.linear("x.a", 2, 2),
                ModuleSpec.linear("x.b", 2, 3),
                ModuleSpec.layerNorm("x.norm", 3),
                ModuleSpec.embedding("x.table", 5, 2)));
    Lora lora = new Lora();
    LoraConfig config = config(1, 1, "true");
    assertThat(lora.attach(config.withBias("lora_only"), modules).shapes().keySet())
        .containsExactlyInAnyOrder("x.a.lora_A.weight", "x.a.lora_B.weight", "x.a.base_layer.bias");
    assertThat(lora.attach(config.withBias("all"), modules).shapes().keySet())
        .containsExactlyInAnyOrder(
            "x.a.lora_A.weight",
            "x.a.lora_B.weight",
            "x.a.base_layer.bias",
            "x.b.bias",
            "x.norm.bias");
  }

  @Test
  void frozenAStaysInTheStateAndIsSavedAllTheSame() {
    AttachedMethod fa = attach(config(1, 1, "true").withFrozenA());
    float[] w = {1, 0, 0, 1};
    MethodState state = fa.initialState(4, base(w));
    assertThat(fa.shapes()).containsOnlyKeys("a.lora_B.weight");
    assertThat(fa.role("a.lora_B.weight")).isEqualTo(TensorRole.LINEAR);
    float[] a = state.floats("a.lora_A.weight");
    assertThat(a)
        .isEqualTo(
            attach(config(1, 1, "true"))
                .initialValues(4, MethodState.EMPTY, base(w))
                .get("a.lora_A.weight"));
    ParameterVector trained = parameters(fa, Map.of("a.lora_B.weight", new float[] {0, 2}));
    assertThat(output(fa, trained, state, w, new float[2], 1, 1))
        .containsExactly(new float[] {1, 1 + 2 * (a[0] + a[1])}, CLOSE);
    AttachedMethod.Loaded loaded =
        fa.load(new AdapterTensors("saved", fa.save(trained, state)), base(w));
    assertThat(loaded.state()).isEqualTo(state);
    assertThat(loaded.values().get("a.lora_B.weight")).containsExactly(0, 2);
    assertThat(attach(config(1, 1, "true")).shapes().keySet())
        .as("any LoRA reads the file")
        .allMatch(name -> fa.save(trained, state).containsKey(AdapterTensors.PREFIX + name));
  }

  @Test
  void loraPlusRaisesTheRateOfBAndOfVectors() {
    LoraConfig config = config(1, 1, "true").withLoraplusRatio(16).withDora().withBias("lora_only");
    AttachedMethod lora = attach(config);
    assertThat(lora.role("a.lora_A.weight").rate()).isEqualTo(1);
    assertThat(lora.role("a.lora_B.weight"))
        .isEqualTo(TensorRole.FACTOR.withRate(16))
        .satisfies(role -> assertThat(role.decayed()).isTrue());
    assertThat(lora.role("a.lora_magnitude_vector").rate()).isEqualTo(16);
    assertThat(lora.role("a.base_layer.bias"))
        .isEqualTo(TensorRole.LINEAR.withRate(16).undecayed());
    assertThat(lora.savedRole("classifier.bias"))
        .isEqualTo(TensorRole.LINEAR.withRate(16).undecayed());
    assertThat(lora.savedRole("classifier.weight")).isEqualTo(TensorRole.LINEAR);
    assertThat(attach(config(1, 1, "true")).savedRole("classifier.bias"))
        .isEqualTo(TensorRole.LINEAR);
  }

  @Test
  void layersPatternNamesTheListThatIsCounted() {
    ModuleTree modules =
        new ModuleTree(
            List.of(
                ModuleSpec.linear("m.block.0.expert.1.a", 2, 2),
                ModuleSpec.linear("m.block.1.expert.0.a", 2, 2)));
    for (List<String> lists : List.of(List.<String>of(), List.of("block"), List.of("expert"))) {
      LoraConfig config =
          new LoraConfig(
              1,
              1,
              0,
              TargetModules.of("a"),
              List.of(),
              false,
              "true",
              Map.of(),
              Map.of(),
              List.of(1),
              lists,
              false,
              "none",
              false,
              1,
              false,
              List.of());
      assertThat(new Lora().attach(config, modules).shapes().keySet())
          .allMatch(name -> name.startsWith(lists.contains("expert") ? "m.block.0" : "m.block.1"))
          .hasSize(2);
    }
  }

  @Test
  void refusesWhatDoesNotGoTogether() {
    LoraConfig config = config(1, 1, "true");
    assertThatThrownBy(() -> config.withLoraBias().withDora())
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("lora_bias");
    assertThatThrownBy(() -> config.withInit("pissa_niter_"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("pissa_niter_k with a number k");
    assertThatThrownBy(() -> config.withLoraplusRatio(0.5))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("loraplus_lr_ratio");
    assertThatThrownBy(() -> attach(config(3, 1, "pissa")))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("at most 2 on a, got 3");
    ModuleTree table = new ModuleTree(List.of(ModuleSpec.embedding("a", 5, 2)));
    assertThatThrownBy(() -> new Lora().attach(config.withFrozenA(), table))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("freeze_a");
  }
}
