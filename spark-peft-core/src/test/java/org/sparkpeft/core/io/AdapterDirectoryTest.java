package org.sparkpeft.core.io;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.SortedMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;

class AdapterDirectoryTest {
  private static final SortedMap<String, TensorData> TENSORS =
      TensorData.byName(
          List.of(
              Bytes.floats("base_model.model.q.lora_A.weight", List.of(1, 3), 1, -2, 3),
              TensorData.ofLongs("base_model.model.q.index", List.of(2), new long[2], DType.I32)));

  @TempDir Path dir;

  private static ObjectNode config() {
    return JsonNodeFactory.instance.objectNode().put("peft_type", "LORA").put("r", 4);
  }

  @Test
  void addsTheKeysThatEveryAdapterHas() throws IOException {
    ObjectNode config = config().put("base_model_name_or_path", "caf\u00e9");
    config.putArray("target_modules").add("value").add("query");
    config.putObject("rank_pattern");
    AdapterDirectory.write(dir.resolve("a"), config, TENSORS);
    assertThat(dir.resolve("a/adapter_config.json"))
        .hasContent(
            """
            {
              "auto_mapping": null,
              "base_model_name_or_path": "caf\\u00E9",
              "inference_mode": true,
              "peft_type": "LORA",
              "peft_version": "0.21.0",
              "r": 4,
              "rank_pattern": {},
              "revision": null,
              "target_modules": [
                "value",
                "query"
              ],
              "task_type": null
            }""");
    AdapterDirectory read = AdapterDirectory.read(dir.resolve("a"));
    assertThat(read.tensors()).isEqualTo(TENSORS);
    assertThat(read.peftType()).isEqualTo("LORA");
    assertThat(read.config().get("base_model_name_or_path").asText()).isEqualTo("caf\u00e9");
    assertThat(config.has("revision")).as("the argument is left alone").isFalse();
  }

  @Test
  void replacesAnEarlierAdapterWhole() {
    Path target = dir.resolve("a");
    AdapterDirectory.write(target, config(), TENSORS);
    AdapterDirectory earlier = AdapterDirectory.read(target);
    AdapterDirectory.write(
        target, config().put("r", 8), TensorData.byName(List.of(Bytes.floats("x", List.of(1), 9))));
    assertThat(AdapterDirectory.read(target).tensors().keySet()).containsExactly("x");
    assertThat(AdapterDirectory.read(target).config().get("r").asInt()).isEqualTo(8);
    assertThat(earlier.tensors()).isEqualTo(TENSORS);
  }

  @Test
  void refusesWhatOtherToolsCouldNotLoad() {
    Path target = dir.resolve("a");
    assertThatThrownBy(
            () -> AdapterDirectory.write(target, JsonNodeFactory.instance.objectNode(), TENSORS))
        .hasMessageContaining("peft_type");
    assertThatThrownBy(
            () -> AdapterDirectory.write(target, config().put("task_type", "SEQ"), TENSORS))
        .hasMessageContaining("SEQ_CLS");
    assertThatThrownBy(
            () -> AdapterDirectory.write(target, config().put("runtime_config", 1), TENSORS))
        .hasMessageContaining("runtime_config");
    assertThatThrownBy(() -> AdapterDirectory.write(target, config(), TensorData.byName(List.of())))
        .hasMessageContaining("at least one");
    TensorData half = TensorData.ofFloats("h", List.of(1), new float[1], DType.F16);
    assertThatThrownBy(
            () -> AdapterDirectory.write(target, config(), TensorData.byName(List.of(half))))
        .hasMessageContaining("F32");
    TensorData nan = Bytes.floats("n", List.of(2), 0, Float.NaN);
    assertThatThrownBy(
            () -> AdapterDirectory.write(target, config(), TensorData.byName(List.of(nan))))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("entry 1 of n");
    assertThat(target).doesNotExist();
  }

  @Test
  void neverReplacesWhatIsNotAnAdapter() throws IOException {
    Path home = Files.createDirectory(dir.resolve("home"));
    Files.writeString(home.resolve("thesis.tex"), "x");
    assertThatThrownBy(() -> AdapterDirectory.write(home, config(), TENSORS))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("no adapter_config.json");
    assertThat(home.resolve("thesis.tex")).hasContent("x");
    assertThatThrownBy(() -> AdapterDirectory.write(home.resolve("thesis.tex"), config(), TENSORS))
        .isInstanceOf(DataException.class);
  }

  @Test
  void saysWhatIsWrongWithAFolder() throws IOException {
    Path empty = Files.createDirectory(dir.resolve("empty"));
    assertThatThrownBy(() -> AdapterDirectory.read(empty))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("no adapter_config.json");
    Files.writeString(empty.resolve("adapter_config.json"), "{\"peft_type\":null}");
    Files.createFile(empty.resolve("adapter_model.bin"));
    assertThatThrownBy(() -> AdapterDirectory.read(empty))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("safe_serialization");
    Files.createFile(empty.resolve("adapter_model.safetensors"));
    assertThatThrownBy(() -> AdapterDirectory.read(empty))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("peft_type");
    Files.writeString(empty.resolve("adapter_config.json"), "{\"peft_type\":\"LORA\"}");
    assertThatThrownBy(() -> AdapterDirectory.read(empty)).isInstanceOf(FormatException.class);
    Files.write(empty.resolve("adapter_model.safetensors"), Bytes.safetensors("{}", 0));
    assertThatThrownBy(() -> AdapterDirectory.read(empty))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("no tensors");
  }

  /** Every folder that PEFT wrote is read, and written back as PEFT wrote it. */
  @Test
  void readsAndRewritesEveryGoldenAdapter() throws IOException {
    List<Path> folders;
    try (Stream<Path> walk = Files.walk(SharedFolder.resolve("golden"))) {
      folders =
          walk.filter(p -> p.endsWith("adapter_config.json"))
              .map(Path::getParent)
              .sorted()
              .toList();
    }
    assertThat(folders).hasSizeGreaterThan(100);
    for (Path folder : folders) {
      AdapterDirectory adapter = AdapterDirectory.read(folder);
      Path copy = dir.resolve("copy");
      AdapterDirectory.write(copy, adapter.config(), adapter.tensors());
      assertThat(
              Files.mismatch(
                  copy.resolve(AdapterDirectory.WEIGHTS), folder.resolve(AdapterDirectory.WEIGHTS)))
          .as(folder.toString())
          .isEqualTo(-1);
      assertThat(Files.readString(copy.resolve(AdapterDirectory.CONFIG), UTF_8))
          .as(folder.toString())
          // The one difference: Java spells the double 6e-05 as 6.0E-5.
          .isEqualTo(
              Files.readString(folder.resolve(AdapterDirectory.CONFIG), UTF_8)
                  .replace("6e-05", "6.0E-5"));
    }
  }
}
