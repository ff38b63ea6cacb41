package org.sparkpeft.core.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

class LoraTest {
  private static LoraConfig config(int r, double alpha, TargetModules targets) {
    return new LoraConfig(
        r, alpha, 0, targets, List.of(), false, "true", Map.of(), Map.of(), List.of(), List.of());
  }

  private static ModuleTree encoder() {
    return new ModuleTree(
        List.of(
            ModuleSpec.embedding("m.embeddings.words", 50, 6),
            ModuleSpec.linear("m.layer.0.query", 6, 6),
            ModuleSpec.linear("m.layer.0.dense", 6, 9),
            ModuleSpec.layerNorm("m.layer.0.norm", 6),
            ModuleSpec.linear("m.layer.1.query", 6, 6),
            ModuleSpec.linear("m.layer.10.query", 6, 6)));
  }

  private static List<String> targets(LoraConfig config) {
    return new Lora()
        .attach(config, encoder()).shapes().keySet().stream()
            .filter(name -> name.contains("lora_A") || name.contains("embedding_A"))
            .map(name -> name.replaceFirst("\\.lora_.*", ""))
            .toList();
  }

  @Test
  void workedExample() {
    ModuleTree modules = new ModuleTree(List.of(ModuleSpec.linear("a", 3, 2)));
    AttachedMethod lora = new Lora().attach(config(1, 2, TargetModules.of("a")), modules);
    assertThat(lora.shapes())
        .isEqualTo(Map.of("a.lora_A.weight", List.of(1, 3), "a.lora_B.weight", List.of(2, 1)));
    float[] w = {1, 0, 2, 0, 1, -1};
    ParameterVector parameters =
        ParameterVector.of(ParameterLayout.of(lora.shapes()), new float[] {1, 2, -1, 2, -1});
    assertThat(lora.fuse(parameters, MethodState.EMPTY, name -> w))
        .containsOnlyKeys("a.weight")
        .containsEntry("a.weight", new float[] {5, 8, -2, -2, -3, 1});
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      Map<String, NDArray> views =
          Map.of(
              "a.lora_A.weight", manager.create(new float[] {1, 2, -1}, new Shape(1, 3)),
              "a.lora_B.weight", manager.create(new float[] {2, -1}, new Shape(2, 1)));
      TokenBatch batch = TokenBatch.of(List.of(new int[] {1}), 0);
      Tuning tuning =
          ModifiedForward.of(
              lora.modifications(
                  new MethodTensors(views, Map.of()), TuningContext.inference(manager, batch)));
      Linear layer = new Linear("a", manager.create(w, new Shape(2, 3)), null);
      NDArray x = manager.create(new float[] {1, 1, 1}, new Shape(1, 3));
      assertThat(tuning.linear(layer, x).toFloatArray()).containsExactly(11, -4);
    }
  }

  @Test
  void choosesModulesAsHuggingFaceDoes() {
    assertThat(targets(config(2, 2, TargetModules.of("query"))))
        .containsExactly("m.layer.0.query", "m.layer.1.query", "m.layer.10.query");
    assertThat(targets(config(2, 2, TargetModules.of("0.query"))))
        .as("a dotted suffix, not any ending")
        .containsExactly("m.layer.0.query");
    assertThat(targets(config(2, 2, new TargetModules(List.of(), ".*layer\\.1.*"))))
        .containsExactly("m.layer.1.query", "m.layer.10.query");
    assertThat(targets(config(2, 2, new TargetModules(List.of(), "all-linear"))))
        .containsExactly(
            "m.layer.0.query", "m.layer.0.dense", "m.layer.1.query", "m.layer.10.query");
    LoraConfig layers =
        new LoraConfig(
            2,
            2,
            0,
            TargetModules.of("query", "dense"),
            List.of("0.dense"),
            false,
            "true",
            Map.of(),
            Map.of(),
            List.of(0, 10),
            List.of());
    assertThat(targets(layers)).containsExactly("m.layer.0.query", "m.layer.10.query");
  }

  @Test
  void firstMatchingPatternDecides() {
    Map<String, Integer> ranks = new LinkedHashMap<>();
    ranks.put("layer.1.query", 3);
    ranks.put("query", 5);
    ranks.put("^m.layer.10.query", 7);
    LoraConfig config =
        new LoraConfig(
            2,
            2,
            0,
            TargetModules.of("query", "dense"),
            List.of(),
            true,
            "gaussian",
            ranks,
            Map.of(),
            List.of(),
            List.of());
    Map<String, List<Integer>> shapes = new Lora().attach(config, encoder()).shapes();
    assertThat(shapes.get("m.layer.1.query.lora_A.weight")).containsExactly(3, 6);
    assertThat(shapes.get("m.layer.10.query.lora_A.weight")).containsExactly(5, 6);
    assertThat(shapes.get("m.layer.0.dense.lora_B.weight")).containsExactly(9, 2);
  }

  @Test
  void refusesWhatItCannotAdapt() {
    assertThatThrownBy(() -> targets(config(2, 2, TargetModules.of("queri"))))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("[query");
    assertThatThrownBy(() -> targets(config(2, 2, TargetModules.of("norm"))))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("LAYER_NORM");
  }

  @Test
  void configurationSurvivesTheFileFormat() {
    LoraConfig config =
        new LoraConfig(
            4,
            16,
            0.05,
            TargetModules.of("query", "value"),
            List.of("0.query"),
            true,
            "gaussian",
            Map.of("query", 3),
            Map.of("value", 2.5),
            List.of(1, 2),
            List.of("classifier"));
    Map<String, Object> fields = new LinkedHashMap<>(PeftMethods.writeConfig(config));
    fields.put("modules_to_save", config.modulesToSave());
    assertThat(PeftMethods.readConfig(fields)).isEqualTo(config);
  }

  @Test
  void refusesSettingsItDoesNotImplementByName() {
    for (String key : List.of("use_qalora", "use_bdlora", "fan_in_fan_out")) {
      assertThatThrownBy(
              () ->
                  PeftMethods.readConfig(
                      Map.of("peft_type", "LORA", "target_modules", List.of("q"), key, true)))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining(key);
    }
    assertThatThrownBy(
            () ->
                PeftMethods.readConfig(
                    Map.of("peft_type", "LORA", "target_modules", List.of("q"), "bias", "some")))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("bias: must be none, lora_only or all, got some");
    assertThatThrownBy(() -> PeftMethods.readConfig(Map.of("peft_type", "MAGIC")))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("LORA");
  }

  @Test
  void dropoutDropsTheStatedShareAndKeepsTheMean() {
    float[] mask = Dropout.mask(100_000, 0.3, Philox.of(3, "dropout"));
    int dropped = 0;
    double sum = 0;
    for (float m : mask) {
      dropped += m == 0 ? 1 : 0;
      sum += m;
    }
    assertThat(dropped).isBetween(29_400, 30_600);
    assertThat(sum / mask.length).isBetween(0.99, 1.01);
    assertThat(Dropout.mask(100, 0.3, Philox.of(3, "dropout")))
        .containsExactly(java.util.Arrays.copyOf(mask, 100));
  }
}
