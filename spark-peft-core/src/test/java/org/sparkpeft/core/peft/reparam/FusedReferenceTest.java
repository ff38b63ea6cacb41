package org.sparkpeft.core.peft.reparam;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import org.assertj.core.data.Offset;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.SafetensorsFile;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.testing.SharedFiles;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Adapters that Hugging Face PEFT trained on a model whose layers have more inputs than outputs,
 * folded into it: the weights that PEFT's own merge gave.
 */
class FusedReferenceTest {
  @ParameterizedTest
  @ValueSource(
      strings = {
        "boft",
        "fourierft",
        "loha",
        "lokr",
        "miss",
        "miss-bat",
        "oft",
        "randlora",
        "shira",
        "vblora"
      })
  void sameWeights(String method) throws Exception {
    Path folder = SharedFiles.find("golden/stories-" + method);
    JsonNode merge =
        new ObjectMapper().readTree(folder.resolve("golden.json").toFile()).get("merge");
    AdapterDirectory adapter = AdapterDirectory.read(folder.resolve("adapter_final"));
    Map<String, Object> fields =
        new ObjectMapper().convertValue(adapter.config(), new TypeReference<>() {});
    Map<String, List<Integer>> shapes = new TreeMap<>();
    adapter.tensors().forEach((name, tensor) -> shapes.put(name, tensor.shape()));
    PeftConfig config = PeftMethods.readConfig(fields, shapes);
    try (SafetensorsFile base =
        SafetensorsFile.open(SharedFiles.find("models/stories260K/model.safetensors"))) {
      AttachedMethod attached = PeftMethods.attach(config, modules(base));
      AdapterTensors file = new AdapterTensors("adapter", adapter.tensors());
      AttachedMethod.Loaded loaded = attached.load(file, base::floats);
      assertThat(file.left()).isEmpty();
      assertThat(attached.initialState(0, base::floats))
          .as("what the seed implies is what the file holds")
          .isEqualTo(loaded.state());
      ParameterLayout layout = ParameterLayout.of(attached.shapes());
      float[] flat = new float[layout.size()];
      layout
          .entries()
          .forEach(
              entry ->
                  System.arraycopy(
                      loaded.values().get(entry.name()), 0, flat, entry.offset(), entry.size()));
      Map<String, float[]> fused =
          attached.fuse(ParameterVector.of(layout, flat), loaded.state(), base::floats);
      assertThat(fused.keySet())
          .containsExactlyInAnyOrderElementsOf(() -> merge.get("delta_norms").fieldNames());
      for (JsonNode sample : merge.get("samples")) {
        float[] weight = Objects.requireNonNull(fused.get(sample.get("weight").asText()));
        assertThat((double) weight[sample.get("flat_index").intValue()])
            .as(sample.get("weight").asText())
            .isCloseTo(sample.get("merged").doubleValue(), Offset.offset(2e-6));
      }
      fused.forEach(
          (name, weight) -> {
            float[] before = base.floats(name);
            double squares = 0;
            for (int i = 0; i < weight.length; i++) {
              squares += Math.pow((double) weight[i] - before[i], 2);
            }
            double norm = merge.get("delta_norms").get(name).doubleValue();
            assertThat(Math.sqrt(squares))
                .as(name)
                .isCloseTo(norm, Offset.offset(1e-5 + 1e-5 * norm));
          });
    }
  }

  private static ModuleTree modules(SafetensorsFile base) {
    List<ModuleSpec> modules = new ArrayList<>();
    for (String name : base.names()) {
      if (name.endsWith("_proj.weight")) {
        List<Integer> shape = base.shape(name);
        modules.add(
            new ModuleSpec(
                name.replace(".weight", ""),
                ModuleSpec.Kind.LINEAR,
                shape.get(1),
                shape.get(0),
                false,
                ModuleSpec.Origin.REQUIRED));
      }
    }
    return new ModuleTree(modules);
  }
}
