package org.sparkpeft.core.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.sparkpeft.core.testing.SharedFiles.find;
import static org.sparkpeft.core.testing.SharedFiles.floats;
import static org.sparkpeft.core.testing.SharedFiles.json;
import static org.sparkpeft.core.testing.SharedFiles.tokens;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.ModelDirectory;

/** What the whole-model numbers do not reach: one tower of CLIP alone, and what is refused. */
class ClipAndWaveTest {
  private static final ComputeDevice CPU = ComputeDevice.cpu();

  @TempDir Path folder;

  @Test
  void eachTowerGivesUnitVectors() {
    checkEmbeddings(fixture("clip"));
  }

  /** Old configurations say 2 where the end token is the one with the highest id. */
  @Test
  void oldEndTokens() throws IOException {
    ModelDirectory source = fixture("clip");
    ObjectNode config = (ObjectNode) source.config();
    ((ObjectNode) config.get("text_config")).put("eos_token_id", 2);
    Files.writeString(folder.resolve("config.json"), config.toString());
    Files.copy(source.path().resolve("model.safetensors"), folder.resolve("model.safetensors"));
    checkEmbeddings(ModelDirectory.open(folder));
  }

  private static void checkEmbeddings(ModelDirectory directory) {
    JsonNode one = json("golden/architectures/clip/golden.json").get("cases").get(1);
    JsonNode inputs = one.get("inputs");
    List<int[]> texts = new ArrayList<>();
    List<float[]> images = new ArrayList<>();
    for (int row = 0; row < inputs.get("input_ids").size(); row++) {
      texts.add(tokens(inputs.get("input_ids").get(row), inputs.get("attention_mask").get(row)));
      images.add(floats(inputs.get("pixel_values").get(row)));
    }
    CPU.bindThread();
    try (Backbone model = Backbones.load(directory, CPU);
        NDManager step = CPU.newManager()) {
      assertThat(features(model, step, TokenBatch.of(texts, 1)))
          .usingComparatorWithPrecision(2e-5f)
          .containsExactly(floats(one.get("outputs").get("text_embeds").get("values")));
      assertThat(features(model, step, PixelBatch.of(images, 3, 16, 16)))
          .usingComparatorWithPrecision(2e-5f)
          .containsExactly(floats(one.get("outputs").get("image_embeds").get("values")));
    }
  }

  private static float[] features(Backbone model, NDManager step, ModelInput input) {
    NDArray hidden = model.forward(step, input, Tuning.NONE);
    return model.features(step, hidden, input, Tuning.NONE).toFloatArray();
  }

  @Test
  void clipClassifiesImagesByTheMeanOfTheirPatches() {
    CPU.bindThread();
    try (Backbone model =
            Backbones.load(fixture("clip"), CPU, new HeadConfig(HeadConfig.Kind.SEQUENCE, 5));
        NDManager step = CPU.newManager()) {
      assertThat(model.missing()).containsExactly("classifier");
      assertThat(model.modules().find("vision_model.post_layernorm")).isEmpty();
      assertThat(model.modules().structure().layers()).hasSize(2);
      PixelBatch input = PixelBatch.of(List.of(new float[3 * 16 * 16]), 3, 16, 16);
      NDArray hidden = model.forward(step, input, Tuning.NONE);
      assertThat(hidden.getShape().getShape()).containsExactly(1, 5, 40);
      NDArray features = model.features(step, hidden, input, Tuning.NONE);
      float[] states = hidden.toFloatArray();
      float[] means = features.toFloatArray();
      for (int i = 0; i < 40; i++) {
        float mean = (states[40 + i] + states[80 + i] + states[120 + i] + states[160 + i]) / 4;
        assertThat(means[i]).isCloseTo(mean, Offset.offset(1e-5f));
      }
      assertThat(model.logits(features, Tuning.NONE).getShape().getShape()).containsExactly(1, 5);
    }
  }

  @Test
  void clipRefusesWhatItCannotRead() {
    CPU.bindThread();
    try (Backbone model = Backbones.load(fixture("clip"), CPU);
        NDManager step = CPU.newManager()) {
      TokenBatch endless = TokenBatch.of(List.of(new int[] {158, 3, 4}), 1);
      assertThatThrownBy(() -> features(model, step, endless))
          .isInstanceOf(DataException.class)
          .hasMessageContaining("no end token 159");
      TokenBatch endlessly = TokenBatch.of(List.of(new int[17]), 1);
      assertThatThrownBy(() -> features(model, step, endlessly))
          .isInstanceOf(DataException.class)
          .hasMessageContaining("at most 16 tokens, got 17");
      PixelBatch image = PixelBatch.of(List.of(new float[3 * 16 * 16]), 3, 16, 16);
      TokenBatch two = TokenBatch.of(List.of(new int[] {159}, new int[] {159}), 1);
      assertThatThrownBy(() -> new ImageTextBatch(image, two))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("2 texts for 1 images");
    }
    ObjectNode config = (ObjectNode) fixture("clip").config();
    config.putObject("text_config_dict").put("hidden_size", 7);
    assertThatThrownBy(() -> ClipModel.of(new ModelConfig("config", config)))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("text_config_dict");
  }

  @Test
  void wavesMustGiveAFrame() {
    CPU.bindThread();
    try (Backbone model = Backbones.load(fixture("wav2vec2-sequence-classification"), CPU);
        NDManager step = CPU.newManager()) {
      WaveBatch input = WaveBatch.of(List.of(new float[400], new float[19]));
      assertThat(input.isPadded()).isTrue();
      assertThatThrownBy(() -> model.forward(step, input, Tuning.NONE))
          .isInstanceOf(DataException.class)
          .hasMessageContaining("recording 1 has 19 samples");
    }
    assertThatThrownBy(() -> WaveBatch.of(List.of(new float[0])))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("recording 0");
    for (String key : List.of("do_stable_layer_norm", "add_adapter", "use_weighted_layer_sum")) {
      ObjectNode config = (ObjectNode) fixture("wav2vec2-sequence-classification").config();
      config.put(key, true);
      assertThatThrownBy(() -> Wav2Vec2Model.of(new ModelConfig("config", config)))
          .isInstanceOf(FormatException.class)
          .hasMessageContaining(key);
    }
  }

  private static ModelDirectory fixture(String name) {
    return ModelDirectory.open(find("golden/architectures/" + name));
  }
}
