package org.sparkpeft.core.peft;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SortedMap;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.model.LayerPaths;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;

class SuitedTargetsTest {
  /** One layer with a norm, and projections of the given names. */
  private static ModuleTree model(String query, String key, String value) {
    List<ModuleSpec> modules = new ArrayList<>();
    for (String name : List.of(query, key, value)) {
      if (modules.stream().noneMatch(module -> module.path().equals("layers.0." + name))) {
        modules.add(ModuleSpec.linear("layers.0." + name, 8, 8));
      }
    }
    modules.add(ModuleSpec.linear("layers.0.up", 8, 16));
    modules.add(ModuleSpec.linear("layers.0.down", 16, 8));
    LayerPaths layer =
        new LayerPaths(
            "layers.0." + query,
            "layers.0." + key,
            "layers.0." + value,
            "layers.0." + value,
            "layers.0.norm",
            "layers.0.up",
            "layers.0.down",
            "layers.0.norm");
    return new ModuleTree(
        modules, new ModuleTree.Structure(List.of(layer), 8, 2, 2, 8, "words", "head"));
  }

  private static Object targets(PeftConfig config) {
    return Objects.requireNonNull(PeftMethods.writeConfig(config).get("target_modules"));
  }

  @Test
  void usualTargetsAreTheModelsOwnQueriesAndValues() {
    ModuleTree llama = model("q_proj", "k_proj", "v_proj");
    for (String type : List.of("LORA", "ADALORA", "VERA", "SPIEL_MA")) {
      PeftConfig usual = PeftMethods.named(type).defaults();
      assertThat(targets(PeftMethods.suited(usual, llama)))
          .as(type)
          .isEqualTo(List.of("q_proj", "v_proj"));
    }
    LoraConfig plus = LoraConfig.defaults().withLoraplusRatio(4);
    assertThat(((LoraConfig) PeftMethods.suited(plus, llama)).loraplusLrRatio()).isEqualTo(4);
    PeftConfig gpt2 =
        PeftMethods.suited(LoraConfig.defaults(), model("c_attn", "c_attn", "c_attn"));
    assertThat(targets(gpt2)).isEqualTo(List.of("c_attn"));
  }

  @Test
  void nothingElseChanges() {
    PeftConfig usual = LoraConfig.defaults();
    assertThat(PeftMethods.suited(usual, model("query", "key", "value"))).isSameAs(usual);
    SortedMap<String, Object> fields = PeftMethods.writeConfig(usual);
    fields.putAll(Map.of("target_modules", List.of("wq"), "r", 4));
    PeftConfig given = PeftMethods.readConfig(fields);
    ModuleTree llama = model("q_proj", "k_proj", "v_proj");
    assertThat(PeftMethods.suited(given, llama)).isSameAs(given);
    fields.put("target_modules", List.of("query", "value"));
    PeftConfig small = PeftMethods.suited(PeftMethods.readConfig(fields), llama);
    assertThat(PeftMethods.writeConfig(small)).containsEntry("r", 4);
    assertThat(targets(small)).isEqualTo(List.of("q_proj", "v_proj"));
  }
}
