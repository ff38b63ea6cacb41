package org.sparkpeft.federated.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.SafetensorsWriter;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.config.RecipeWriter;

class InspectionTest {
  private static final ObjectMapper JSON = new ObjectMapper();

  @TempDir private Path folder;
  private SortedMap<String, TensorData> tensors = TensorData.byName(List.of());

  @BeforeEach
  void tensors() {
    tensors =
        TensorData.byName(
            List.of(
                TensorData.ofFloats("a", List.of(2, 3), new float[6]),
                TensorData.ofFloats("b", List.of(5), new float[5])));
  }

  private static SortedMap<String, Object> data(Path path) {
    return new Inspection(false).of(path).data();
  }

  @Test
  void aFileOfTensors() {
    Path file = folder.resolve("x.safetensors");
    tensors.put("h", TensorData.ofFloats("h", List.of(), new float[1], DType.F16));
    SafetensorsWriter.write(file, tensors, Map.of("format", "pt"));

    assertThat(data(file))
        .containsEntry("kind", "safetensors file")
        .containsEntry("parameters", 12L)
        .containsEntry("bytes", 46L)
        .containsEntry("dtype", "F32, F16")
        .containsEntry("tensors", 3L)
        .containsEntry("metadata.format", "pt")
        .doesNotContainKey("tensor_list");
    assertThat(new Inspection(true).of(file).message()).contains("  a  F32 [2, 3]\n");
  }

  @Test
  void anAdapter() {
    ObjectNode config = JSON.createObjectNode().put("peft_type", "LORA").put("r", 8);
    config.putArray("target_modules").add("query").add("value");
    AdapterDirectory.write(folder.resolve("a"), config, tensors);

    assertThat(data(folder.resolve("a")))
        .containsEntry("kind", "adapter")
        .containsEntry("peft_type", "LORA")
        .containsEntry("r", 8)
        .containsEntry("target_modules", List.of("query", "value"))
        .containsEntry("parameters", 11L);
  }

  @Test
  void aModel() throws IOException {
    Files.writeString(
        folder.resolve("config.json"),
        "{\"architectures\": [\"BertModel\"], \"model_type\": \"bert\", \"hidden_size\": 4}");
    SafetensorsWriter.write(folder.resolve("model.safetensors"), tensors, Map.of());

    assertThat(data(folder))
        .containsEntry("kind", "model")
        .containsEntry("architecture", "BertModel")
        .containsEntry("hidden_size", 4L)
        .containsEntry("tokenizer", false)
        .containsEntry("parameters", 11L);
  }

  @Test
  void whatOfAModelCanBeTuned() throws IOException {
    Map<String, Object> bert = data(ModelDirectory.resolve("bundled:all-MiniLM-L6-v2").path());
    assertThat(bert).containsEntry("target_modules", "query, key, value, dense");
    assertThat(String.valueOf(bert.get("peft_types")).split(", "))
        .contains("LORA", "IA3", "PREFIX_TUNING", "BITFIT");
    Files.writeString(
        folder.resolve("config.json"),
        """
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8,
         "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
         "vocab_size": 20, "max_position_embeddings": 16, "rms_norm_eps": 1e-5}
        """);
    SafetensorsWriter.write(folder.resolve("model.safetensors"), tensors, Map.of());
    assertThat(data(folder))
        .containsEntry(
            "target_modules", "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj");
    Files.writeString(folder.resolve("config.json"), "{\"model_type\": \"mamba\"}");
    assertThat(String.valueOf(data(folder).get("supported")))
        .startsWith("no: ")
        .contains("\"mamba\" is not supported; supported are");
  }

  @Test
  void aRun() throws IOException {
    Files.writeString(folder.resolve("config.yaml"), RecipeWriter.write(Recipe.defaults()));
    assertThat(data(folder)).containsEntry("finished", false).containsEntry("rounds_planned", 20L);

    Files.writeString(folder.resolve("summary.json"), "{\"final.accuracy\": 0.75}");
    assertThat(data(folder))
        .containsEntry("finished", true)
        .containsEntry("summary.final.accuracy", 0.75)
        .containsEntry("files", "config.yaml, summary.json");

    Files.writeString(folder.resolve("summary.json"), "[");
    assertThatThrownBy(() -> data(folder)).isInstanceOf(FormatException.class);
  }

  @Test
  void whatItIsNotIsNamed() {
    assertThatThrownBy(() -> data(folder))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("holds no config.yaml (run), adapter_config.json (adapter)");
    assertThatThrownBy(() -> data(folder.resolve("none")))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("no such file or folder");
  }
}
