package org.sparkpeft.core.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.sparkpeft.core.testing.SharedFiles.find;
import static org.sparkpeft.core.testing.SharedFiles.floats;
import static org.sparkpeft.core.testing.SharedFiles.json;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.GZIPInputStream;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.SafetensorsFile;

/** Trained models of digits and spoken words, and what models of images refuse. */
class PatchModelsTest {
  private static final ComputeDevice CPU = ComputeDevice.cpu();
  private static final int SIDE = 28;

  @ParameterizedTest
  @ValueSource(strings = {"vit-mnist-3class", "vit-mnist-10class"})
  void digits(String name) throws IOException {
    ModelDirectory directory = ModelDirectory.open(find("models/" + name));
    JsonNode cases = json("models/" + name + "/golden.json").get("cases");
    byte[] images;
    try (InputStream stream =
        new GZIPInputStream(
            Files.newInputStream(find("data/mnist-10k/t10k-images-idx3-ubyte.gz")))) {
      images = stream.readAllBytes();
    }
    List<float[]> rows = new ArrayList<>();
    for (JsonNode one : cases) {
      float[] pixels = new float[SIDE * SIDE];
      int from = 16 + one.get("mnist10k_row").intValue() * pixels.length;
      for (int i = 0; i < pixels.length; i++) {
        pixels[i] = ((images[from + i] & 0xff) / 255f - 0.1307f) / 0.3081f;
      }
      rows.add(pixels);
    }
    check(directory, cases, PixelBatch.of(rows, 1, SIDE, SIDE));
  }

  @Test
  void spokenWords() {
    ModelDirectory directory = ModelDirectory.open(find("models/kwt-1"));
    JsonNode cases = json("models/kwt-1/golden.json").get("cases");
    List<float[]> rows = new ArrayList<>();
    try (SafetensorsFile features =
        SafetensorsFile.open(directory.path().resolve("golden_features.safetensors"))) {
      cases.forEach(one -> rows.add(features.floats(one.get("name").textValue())));
    }
    check(directory, cases, FrameBatch.of(rows, 98, 40));
  }

  private static void check(ModelDirectory directory, JsonNode cases, ModelInput input) {
    int labels = directory.config().get("id2label").size();
    CPU.bindThread();
    try (Backbone model =
            Backbones.load(directory, CPU, new HeadConfig(HeadConfig.Kind.SEQUENCE, labels));
        NDManager step = CPU.newManager()) {
      assertThat(model.missing()).isEmpty();
      NDArray hidden = model.forward(step, input, Tuning.NONE);
      NDArray logits = model.logits(model.features(step, hidden, input, Tuning.NONE), Tuning.NONE);
      for (int row = 0; row < cases.size(); row++) {
        assertThat(logits.get(row).toFloatArray())
            .as("case " + row)
            .usingComparatorWithPrecision(1e-4f)
            .containsExactly(floats(cases.get(row).get("logits")));
      }
    }
  }

  @Test
  void aPromptStandsBeforeTheClassToken() {
    ModelDirectory directory = fixture("deit-image-classification");
    HeadConfig head = new HeadConfig(HeadConfig.Kind.SEQUENCE, 4);
    PixelBatch input = PixelBatch.of(List.of(new float[3 * 16 * 16]), 3, 16, 16);
    Tuning repeated =
        new Tuning() {
          @Override
          public int virtualTokens() {
            return 18;
          }

          @Override
          public NDArray inputEmbeddings(NDArray embedded) {
            return embedded.concat(embedded, 1);
          }
        };
    CPU.bindThread();
    try (Backbone model = Backbones.load(directory, CPU, head);
        NDManager step = CPU.newManager()) {
      NDArray hidden = model.forward(step, input, repeated);
      assertThat(hidden.getShape().getShape()).containsExactly(1, 36, 32);
      // Every token twice: attention, and with it the outcome, is that of the tokens once.
      float[] once = logits(model, step, input, Tuning.NONE);
      float[] twice = logits(model, step, input, repeated);
      for (int i = 0; i < once.length; i++) {
        assertThat(twice[i]).isCloseTo(once[i], Offset.offset(1e-5f));
      }
    }
  }

  private static float[] logits(Backbone model, NDManager step, ModelInput input, Tuning tuning) {
    NDArray hidden = model.forward(step, input, tuning);
    return model.logits(model.features(step, hidden, input, tuning), tuning).toFloatArray();
  }

  @Test
  void refusesOtherInputs() {
    CPU.bindThread();
    try (Backbone model = Backbones.load(fixture("vit-image-classification"), CPU);
        NDManager step = CPU.newManager()) {
      PixelBatch small = PixelBatch.of(List.of(new float[3 * 12 * 16]), 3, 12, 16);
      assertThatThrownBy(() -> model.forward(step, small, Tuning.NONE))
          .isInstanceOf(DataException.class)
          .hasMessageContaining("3 x 16 x 16")
          .hasMessageContaining("3 x 12 x 16");
      TokenBatch tokens = TokenBatch.of(List.of(new int[] {1}), 0);
      assertThatThrownBy(() -> model.forward(step, tokens, Tuning.NONE))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("TokenBatch");
    }
    assertThatThrownBy(() -> PixelBatch.of(List.of(new float[5]), 1, 2, 3))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("5 values instead of 6");
    assertThatThrownBy(() -> FrameBatch.of(List.of(), 1 << 20, 1 << 20))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("2^31");
  }

  @Test
  void headsThatTheCheckpointLacksAreMadeUp() {
    ModelDirectory directory = fixture("ast-audio-classification");
    CPU.bindThread();
    try (Backbone model =
        Backbones.load(directory, CPU, new HeadConfig(HeadConfig.Kind.SEQUENCE, 7))) {
      assertThat(model.missing()).containsExactly("classifier.dense");
      assertThat(model.frozen("classifier.dense.weight")).hasSize(7 * 32).containsOnly(0);
    }
  }

  @Test
  void refusesSettingsByName() {
    ObjectNode patch = config("vit-image-classification").put("patch_size", 5);
    assertThatThrownBy(() -> VitModel.vit(new ModelConfig("config", patch)))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("5 pixels of a patch do not divide");
    ObjectNode stride = config("ast-audio-classification").put("patch_size", 17);
    assertThatThrownBy(() -> AstModel.of(new ModelConfig("config", stride)))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("17 x 17 does not fit");
    ObjectNode norm = new ObjectMapper().createObjectNode().put("norm_position", "pre");
    assertThatThrownBy(() -> KwtModel.of(new ModelConfig("config", norm)))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("norm_position");
  }

  private static ObjectNode config(String name) {
    return (ObjectNode) fixture(name).config();
  }

  private static ModelDirectory fixture(String name) {
    return ModelDirectory.open(find("golden/architectures/" + name));
  }
}
