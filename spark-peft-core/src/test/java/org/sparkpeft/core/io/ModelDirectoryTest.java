package org.sparkpeft.core.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.SortedMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;

class ModelDirectoryTest {
  private static final TensorData A = Bytes.floats("a", List.of(2, 1), 1, 2);
  private static final TensorData B = Bytes.floats("b", List.of(3), 3, 4, 5);

  @TempDir Path dir;

  private Path model(String config, TensorData... tensors) throws IOException {
    Path model = Files.createTempDirectory(dir, "model");
    Files.writeString(model.resolve("config.json"), config);
    SafetensorsWriter.write(
        model.resolve("model.safetensors"), TensorData.byName(List.of(tensors)));
    return model;
  }

  private Path sharded(String index) throws IOException {
    Path model = Files.createTempDirectory(dir, "sharded");
    Files.writeString(model.resolve("config.json"), "{\"x\":1}");
    SafetensorsWriter.write(model.resolve("one.safetensors"), TensorData.byName(List.of(A)));
    SafetensorsWriter.write(model.resolve("two.safetensors"), TensorData.byName(List.of(B)));
    Files.writeString(model.resolve("model.safetensors.index.json"), index);
    return model;
  }

  private static String index(String a, String b) {
    return "{\"metadata\":{\"total_size\":20},\"weight_map\":{\"a\":\""
        + a
        + "\",\"b\":\""
        + b
        + "\"}}";
  }

  @Test
  void readsASingleFile() throws IOException {
    Path path = model("{\"model_type\":\"bert\"}", A, B);
    ModelDirectory model = ModelDirectory.open(path);
    assertThat(model.path()).isEqualTo(path);
    assertThat(model.config().get("model_type").asText()).isEqualTo("bert");
    assertThat(model.tokenizer()).isEmpty();
    try (WeightSource weights = model.weights()) {
      assertThat(weights.names()).containsExactly("a", "b");
      assertThat(weights.contains("c")).isFalse();
      assertThat(weights.shape("a")).isEqualTo(List.of(2, 1));
      assertThat(weights.floats("b")).containsExactly(3, 4, 5);
      assertThat(weights.tensor("b")).isEqualTo(B);
      assertThatThrownBy(() -> weights.floats("c")).isInstanceOf(DataException.class);
    }
  }

  @Test
  void readsShardsWithTheSameFingerprint() throws IOException {
    ModelDirectory whole = ModelDirectory.open(model("{ \"x\": 1 }", A, B));
    ModelDirectory shards =
        ModelDirectory.open(sharded(index("one.safetensors", "two.safetensors")));
    try (WeightSource weights = shards.weights()) {
      assertThat(weights.names()).containsExactly("a", "b");
      assertThat(weights.floats("a")).containsExactly(1, 2);
      assertThat(weights.floats("b")).containsExactly(3, 4, 5);
    }
    assertThat(shards.fingerprint()).hasSize(64).isEqualTo(whole.fingerprint());
  }

  @Test
  void fingerprintTellsModelsApart() throws IOException {
    assertThat(
            Stream.of(
                    model("{\"x\":1}", A, B),
                    model("{\"x\":2}", A, B),
                    model("{\"x\":1}", A),
                    model("{\"x\":1}", A, B.withName("c")),
                    model("{\"x\":1}", A, Bytes.floats("b", List.of(3, 1), 3, 4, 5)),
                    model("{\"x\":1}", A, Bytes.floats("b", List.of(3), 3, 4, 6)))
                .map(path -> ModelDirectory.open(path).fingerprint()))
        .doesNotHaveDuplicates();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "../one.safetensors",
        "/etc/one.safetensors",
        "sub/one.safetensors",
        "..",
        ".",
        "",
        "sub\\\\one.safetensors",
        "c:one.safetensors",
        "one.bin",
        "o\\u0000ne.safetensors"
      })
  void aShardMustBeAPlainFileName(String name) throws IOException {
    ModelDirectory model = ModelDirectory.open(sharded(index("one.safetensors", name)));
    assertThatThrownBy(model::weights)
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("plain name")
        .hasMessageContaining("index.json");
  }

  @Test
  void everyTensorOfTheIndexMustBeThere() throws IOException {
    assertThatThrownBy(
            ModelDirectory.open(sharded(index("one.safetensors", "one.safetensors")))::weights)
        .isInstanceOf(DataException.class)
        .hasMessageContaining("places b in one.safetensors");
    assertThatThrownBy(
            ModelDirectory.open(sharded(index("one.safetensors", "three.safetensors")))::weights)
        .isInstanceOf(DataException.class)
        .hasMessageContaining("three.safetensors, which is missing");
    for (String bad : List.of("{}", "{\"weight_map\":[]}", "{\"weight_map\":{}}", "[]", "{")) {
      assertThatThrownBy(ModelDirectory.open(sharded(bad))::weights)
          .isInstanceOf(FormatException.class);
    }
    String twice = "{\"weight_map\":{\"a\":\"one.safetensors\",\"a\":\"two.safetensors\"}}";
    assertThatThrownBy(ModelDirectory.open(sharded(twice))::weights)
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("Duplicate");
  }

  @Test
  void namesWhatIsMissing() throws IOException {
    assertThatThrownBy(() -> ModelDirectory.open(dir.resolve("none")))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("no model directory");
    Path empty = Files.createDirectory(dir.resolve("empty"));
    assertThatThrownBy(() -> ModelDirectory.open(empty))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("config.json is missing")
        .hasMessageContaining("tokenizer.json");
    Files.writeString(empty.resolve("config.json"), "{}");
    assertThatThrownBy(() -> ModelDirectory.open(empty))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("both missing");
    Files.createFile(empty.resolve("pytorch_model.bin"));
    assertThatThrownBy(() -> ModelDirectory.open(empty))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("pickled");
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "{", "[]", "1", "{\"a\":1,\"a\":2}", "{} {}", "{\"a\":NaN}", "\0"})
  void refusesAMalformedConfig(String config) throws IOException {
    Path path = model(config, A);
    assertThatThrownBy(() -> ModelDirectory.open(path))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("config.json at byte ");
  }

  @Test
  void refusesAConfigThatIsTooLong() throws IOException {
    Path path = model("{}" + " ".repeat(Json.MAX_CONFIG_BYTES), A);
    assertThatThrownBy(() -> ModelDirectory.open(path))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("longer than");
    Path deep = model("[".repeat(100_000), A);
    assertThatThrownBy(() -> ModelDirectory.open(deep)).isInstanceOf(FormatException.class);
  }

  @Test
  void savesACompleteDirectory() throws IOException {
    Path source = model("{\"torch_dtype\":\"float16\",\"n\":1e-12}", A);
    Files.writeString(source.resolve("tokenizer.json"), "{}");
    Files.writeString(source.resolve("vocab.txt"), "x");
    Files.writeString(source.resolve("notes.txt"), "x");
    ModelDirectory base = ModelDirectory.open(source);
    assertThat(base.tokenizer()).contains(source.resolve("tokenizer.json"));
    SortedMap<String, TensorData> weights = TensorData.byName(List.of(A, B));
    Path target = dir.resolve("fused");
    for (int i = 0; i < 2; i++) {
      ModelDirectory saved =
          ModelDirectory.save(target, base.config(), weights, base.companionFiles());
      assertThat(saved.config().get("torch_dtype").asText()).isEqualTo("float32");
      assertThat(saved.config().get("n").asDouble()).isEqualTo(1e-12);
      try (WeightSource read = saved.weights()) {
        assertThat(read.tensor("b")).isEqualTo(B);
      }
    }
    try (Stream<Path> files = Files.list(target)) {
      assertThat(files.map(p -> p.getFileName().toString()))
          .containsExactlyInAnyOrder(
              "config.json", "model.safetensors", "tokenizer.json", "vocab.txt");
    }
  }

  @Test
  void neverReplacesWhatIsNotAModel() throws IOException {
    Path home = Files.createDirectory(dir.resolve("home"));
    Files.writeString(home.resolve("thesis.tex"), "x");
    ModelDirectory base = ModelDirectory.open(model("{}", A));
    SortedMap<String, TensorData> weights = TensorData.byName(List.of(A));
    assertThatThrownBy(() -> ModelDirectory.save(home, base.config(), weights, List.of()))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("no config.json");
    Path nested = model("{}", A);
    Files.createDirectory(nested.resolve("checkpoints"));
    assertThatThrownBy(() -> ModelDirectory.save(nested, base.config(), weights, List.of()))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("checkpoints");
    assertThat(home.resolve("thesis.tex")).hasContent("x");
  }

  @Test
  void aSourceMayBeReplacedWhileItIsRead() throws IOException {
    Path path = model("{}", A, B);
    ModelDirectory base = ModelDirectory.open(path);
    try (WeightSource weights = base.weights()) {
      ModelDirectory.save(
          path, base.config(), TensorData.byName(List.of(weights.tensor("b"))), List.of());
      assertThat(weights.floats("a")).containsExactly(1, 2);
    }
    try (WeightSource weights = ModelDirectory.open(path).weights()) {
      assertThat(weights.names()).containsExactly("b");
    }
  }

  @Test
  void everyReferenceModelOpens() throws IOException {
    List<Path> models;
    try (Stream<Path> list = Files.list(SharedFolder.resolve("models"))) {
      models = list.filter(Files::isDirectory).sorted().toList();
    }
    assertThat(models).hasSizeGreaterThanOrEqualTo(9);
    for (Path path : models) {
      ModelDirectory model = ModelDirectory.open(path);
      assertThat(model.fingerprint()).hasSize(64).isEqualTo(model.fingerprint());
      try (WeightSource weights = model.weights()) {
        assertThat(weights.names()).isNotEmpty();
        for (String name : weights.names()) {
          float[] values = weights.floats(name);
          assertThat((long) values.length).isEqualTo(Shapes.count(weights.shape(name)));
          for (float value : values) {
            if (!Float.isFinite(value)) {
              throw new AssertionError(path + " " + name + " holds " + value);
            }
          }
        }
      }
    }
  }
}
