package org.sparkpeft.core.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.testing.SharedFiles;

class BartModelTest {
  private static final ComputeDevice CPU = ComputeDevice.cpu();
  private static final String FOLDER = "golden/architectures/bart";

  private static float[] logits(Path folder) {
    CPU.bindThread();
    try (Backbone model = Backbones.load(ModelDirectory.open(folder), CPU, HeadConfig.LANGUAGE);
        NDManager step = CPU.newManager()) {
      TokenBatch batch =
          TokenBatch.of(List.of(new int[] {5, 6, 7}), 1)
              .withTarget(TokenBatch.of(List.of(new int[] {2, 9}), 1));
      NDArray hidden = model.forward(step, batch, Tuning.NONE);
      return model
          .logits(model.features(step, hidden, batch, Tuning.NONE), Tuning.NONE)
          .toFloatArray();
    }
  }

  private static Map<String, TensorData> tensors() {
    Map<String, TensorData> all = new LinkedHashMap<>();
    try (Backbone model =
        Backbones.load(ModelDirectory.open(SharedFiles.find(FOLDER)), CPU, HeadConfig.LANGUAGE)) {
      Map<String, List<Integer>> shapes = new LinkedHashMap<>(model.buffers());
      model.modules().all().forEach(module -> shapes.putAll(module.tensors()));
      shapes.remove("lm_head.weight");
      shapes.forEach(
          (name, shape) -> all.put(name, TensorData.ofFloats(name, shape, model.frozen(name))));
    }
    return all;
  }

  private static float[] saved(Path target, Map<String, TensorData> tensors) {
    ObjectNode config = SharedFiles.json(FOLDER + "/config.json").deepCopy();
    ModelDirectory.save(
        target, config, TensorData.byName(new ArrayList<>(tensors.values())), List.of());
    return logits(target);
  }

  @Test
  void theLogitsBiasIsAddedAndIsZeroWhereThereIsNone(@TempDir Path dir) {
    float[] whole = logits(SharedFiles.find(FOLDER));
    Map<String, TensorData> tensors = tensors();
    float[] bias = Objects.requireNonNull(tensors.remove("final_logits_bias")).toFloats();
    assertThat(bias).hasSize(160).isNotEqualTo(new float[160]);
    float[] without = saved(dir.resolve("without"), tensors);
    for (int i = 0; i < whole.length; i++) {
      assertThat(whole[i]).isEqualTo(without[i] + bias[i % 160]);
    }
  }

  @ParameterizedTest
  @CsvSource({"encoder", "decoder"})
  void theSharedTableMayHaveAnotherName(String part, @TempDir Path dir) {
    float[] plain = logits(SharedFiles.find(FOLDER));
    Map<String, TensorData> tensors = new LinkedHashMap<>();
    tensors()
        .forEach(
            (name, tensor) -> {
              String bare = name.replaceFirst("^model\\.", "");
              String other = bare.equals("shared.weight") ? part + ".embed_tokens.weight" : bare;
              tensors.put(other, TensorData.ofFloats(other, tensor.shape(), tensor.toFloats()));
            });
    assertThat(saved(dir.resolve("other"), tensors)).containsExactly(plain);
  }

  @Test
  void wordEmbeddingsAreScaledWhereTheConfigurationSaysSo() {
    ObjectNode config = SharedFiles.json(FOLDER + "/config.json").deepCopy();
    assertThat(model(config).scaled()).isFalse();
    config.put("scale_embedding", true);
    assertThat(model(config).scaled()).isTrue();
  }

  @ParameterizedTest
  @CsvSource({
    "decoder_attention_heads, 2",
    "normalize_before, true",
    "add_final_layer_norm, true",
    "static_position_embeddings, true",
    "tie_word_embeddings, false",
    "is_encoder_decoder, false",
    "extra_pos_embeddings, 1",
  })
  void refusesWhatItDoesNotCompute(String key, String value) {
    ObjectNode config = SharedFiles.json(FOLDER + "/config.json").deepCopy();
    if (value.matches("\\d+")) {
      config.put(key, Integer.parseInt(value));
    } else {
      config.put(key, Boolean.parseBoolean(value));
    }
    assertThatThrownBy(() -> model(config))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining(key);
  }

  @Test
  void aBatchWithoutATargetIsRefused() {
    try (Backbone model =
            Backbones.load(
                ModelDirectory.open(SharedFiles.find(FOLDER)), CPU, HeadConfig.LANGUAGE);
        NDManager step = CPU.newManager()) {
      TokenBatch batch = TokenBatch.of(List.of(new int[] {5}), 1);
      assertThatThrownBy(() -> model.forward(step, batch, Tuning.NONE))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("the batch lacks the decoder's tokens");
    }
  }

  private static BartModel model(JsonNode config) {
    return BartModel.of(new ModelConfig("config.json", config));
  }
}
