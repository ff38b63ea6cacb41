package org.sparkpeft.core.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.sparkpeft.core.testing.SharedFiles.find;

import ai.djl.ndarray.NDManager;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.io.WeightSource;

class BackboneTest {
  private static final ComputeDevice CPU = ComputeDevice.cpu();

  @TempDir Path temp;

  private ModelDirectory changed(String key, JsonNode value) throws IOException {
    Path source = find("golden/architectures/bert-model");
    ObjectMapper mapper = new ObjectMapper();
    ObjectNode config = (ObjectNode) mapper.readTree(source.resolve("config.json").toFile());
    config.set(key, value);
    Files.writeString(temp.resolve("config.json"), config.toString());
    if (!Files.exists(temp.resolve("model.safetensors"))) {
      Files.copy(source.resolve("model.safetensors"), temp.resolve("model.safetensors"));
    }
    return ModelDirectory.open(temp);
  }

  @Test
  void refusesByNameWhatItDoesNotImplement() throws IOException {
    ObjectMapper mapper = new ObjectMapper();
    String[][] cases = {
      {"position_embedding_type", "\"relative_key\""},
      {"is_decoder", "true"},
      {"hidden_act", "\"mish\""},
      {"model_type", "\"mamba\""},
      {"num_attention_heads", "5"},
      {"hidden_size", "\"big\""}
    };
    for (String[] c : cases) {
      ModelDirectory directory = changed(c[0], mapper.readTree(c[1]));
      assertThatThrownBy(() -> Backbones.load(directory, CPU))
          .as(c[0])
          .isInstanceOf(FormatException.class)
          .hasMessageContaining(c[1].replace("\"", ""));
    }
  }

  @Test
  void namesMissingTensorsAndWrongShapes() throws IOException {
    ObjectMapper mapper = new ObjectMapper();
    ModelDirectory deeper = changed("num_hidden_layers", mapper.readTree("3"));
    assertThatThrownBy(() -> Backbones.load(deeper, CPU))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("16 tensors")
        .hasMessageContaining("encoder.layer.2.attention.self.query.weight");
    ModelDirectory larger = changed("vocab_size", mapper.readTree("161"));
    assertThatThrownBy(() -> Backbones.load(larger, CPU))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("[160, 32]")
        .hasMessageContaining("[161, 32]");
  }

  @Test
  void acceptsOldNamesOfNorms() {
    ModelDirectory plain = ModelDirectory.open(find("golden/architectures/bert-model"));
    List<TensorData> renamed = new ArrayList<>();
    try (WeightSource weights = plain.weights()) {
      for (String name : weights.names()) {
        String old =
            "bert."
                + name.replace("LayerNorm.weight", "LayerNorm.gamma")
                    .replace("LayerNorm.bias", "LayerNorm.beta");
        renamed.add(TensorData.ofFloats(old, weights.shape(name), weights.floats(name)));
      }
    }
    ModelDirectory old =
        ModelDirectory.save(
            temp.resolve("old"), plain.config(), TensorData.byName(renamed), List.of());
    assertThat(hidden(old)).containsExactly(hidden(plain));
  }

  private static float[] hidden(ModelDirectory directory) {
    CPU.bindThread();
    try (Backbone model = Backbones.load(directory, CPU);
        NDManager step = CPU.newManager()) {
      TokenBatch batch = TokenBatch.of(List.of(new int[] {2, 23, 144, 3}), 0);
      return model.forward(step, batch, Tuning.NONE).toFloatArray();
    }
  }

  @Test
  void aForwardPassLeavesNothingBehindInTheModel() {
    ModelDirectory directory =
        ModelDirectory.open(find("golden/architectures/bert-sequence-classification"));
    CPU.bindThread();
    try (Backbone model =
        Backbones.load(directory, CPU, new HeadConfig(HeadConfig.Kind.SEQUENCE, 3))) {
      int before = ((FrozenBackbone) model).ownedTensors();
      for (int i = 0; i < 3; i++) {
        try (NDManager step = CPU.newManager()) {
          TokenBatch batch = TokenBatch.of(List.of(new int[] {2, 23, 144, 3}, new int[] {2, 3}), 0);
          var hidden = model.forward(step, batch, Tuning.NONE);
          var features = model.features(step, hidden, batch, Tuning.NONE);
          model.logits(features, Tuning.NONE).toFloatArray();
        }
      }
      assertThat(((FrozenBackbone) model).ownedTensors()).isEqualTo(before);
    }
  }

  @Test
  void aForgottenModelFreesItsTensors() throws InterruptedException {
    NDManager owner = ownerOfAForgottenModel();
    for (int i = 0; i < 100 && owner.isOpen(); i++) {
      System.gc();
      Thread.sleep(50);
    }
    assertThat(owner.isOpen()).isFalse();
  }

  private static NDManager ownerOfAForgottenModel() {
    Backbone model =
        Backbones.load(
            ModelDirectory.open(find("golden/architectures/bert-sequence-classification")), CPU);
    NDManager owner = ((FrozenBackbone) model).manager();
    assertThat(owner.isOpen()).isTrue();
    return owner;
  }

  @Test
  void modulesAreKnownWithoutWeights() {
    ModelDirectory directory =
        ModelDirectory.open(find("golden/architectures/distilbert-sequence-classification"));
    ModuleTree modules = Backbones.modules(directory, new HeadConfig(HeadConfig.Kind.SEQUENCE, 3));
    assertThat(modules.find("distilbert.transformer.layer.1.attention.q_lin")).isPresent();
    assertThat(modules.named("classifier")).hasSize(1);
    assertThat(modules.named("LayerNorm")).hasSize(1);
    assertThat(modules.named("layer.1")).hasSize(8);
  }

  @Test
  void batchesArePaddedOnTheRight() {
    TokenBatch batch = TokenBatch.of(List.of(new int[] {5, 6, 7}, new int[] {8}), 1);
    assertThat(batch.flatIds()).containsExactly(5, 6, 7, 8, 1, 1);
    assertThat(batch.isPadded()).isTrue();
    assertThat(batch.tokens()).isEqualTo(4);
    assertThat(TokenBatch.of(List.of(new int[] {1}, new int[] {2}), 0).isPadded()).isFalse();
    assertThatThrownBy(() -> TokenBatch.of(List.of(new int[0]), 0))
        .isInstanceOf(IllegalArgumentException.class);
  }
}
