package org.sparkpeft.tests.cluster;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.tests.support.SparkPeftProcess;

/**
 * The same checkpoint, byte for byte: merged in one go, after the process was killed half-way and
 * started again, and on two executor processes.
 */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class MergeProcessTest {
  private static final int TENSORS = 24;
  private static final int ROWS = 512;
  private static final String SHARD = "model-\\d{5}-of-\\d{5}\\.safetensors";

  @TempDir static Path folder;
  private Map<String, byte[]> expected = Map.of();

  @BeforeAll
  void mergeUndisturbed() throws IOException {
    for (int model = 0; model < 4; model++) {
      write(model);
    }
    JsonNode summary = merge("whole");
    assertThat(summary.path("shards").asInt()).isEqualTo(TENSORS);
    assertThat(summary.path("shards_kept").asInt()).isZero();
    expected = contents("whole");
    assertThat(expected).hasSize(TENSORS + 2);
  }

  /** Model 0 is the base of the others; each tensor fills a shard. */
  private static void write(int model) {
    List<TensorData> tensors = new ArrayList<>();
    for (int t = 0; t < TENSORS; t++) {
      float[] values = Philox.of(1, "base", t).uniform(ROWS * ROWS, -1, 1);
      float[] change = Philox.of(2, "change", model, t).uniform(ROWS * ROWS, -0.1f, 0.1f);
      for (int i = 0; i < values.length && model > 0; i++) {
        values[i] += change[i] * change[i];
      }
      tensors.add(
          TensorData.ofFloats("layers." + t + ".w", List.of(ROWS, ROWS), values, DType.F32));
    }
    ObjectNode config = new ObjectMapper().createObjectNode().put("model_type", "tiny");
    ModelDirectory.save(folder.resolve("m" + model), config, TensorData.byName(tensors), List.of());
  }

  private static SparkPeftProcess start(String out, String... more) {
    List<String> args = new ArrayList<>(List.of("merge", "--json", "--method", "ties"));
    args.addAll(List.of("--base", folder.resolve("m0").toString()));
    args.addAll(List.of("--models", folder + "/m1," + folder + "/m2," + folder + "/m3"));
    args.addAll(List.of("--density", "0.3", "--max-shard-size", "1048576"));
    args.addAll(List.of("--out", folder.resolve(out).toString()));
    args.addAll(List.of(more));
    return SparkPeftProcess.start(folder.resolve("scratch"), args.toArray(String[]::new));
  }

  private static JsonNode merge(String out, String... more) throws IOException {
    try (SparkPeftProcess process = start(out, more)) {
      assertThat(process.await()).as(process.output() + process.errors()).isZero();
      return new ObjectMapper().readTree(process.output());
    }
  }

  private static Map<String, byte[]> contents(String out) throws IOException {
    Map<String, byte[]> contents = new TreeMap<>();
    for (Path file : files(folder.resolve(out))) {
      contents.put(file.getFileName().toString(), Files.readAllBytes(file));
    }
    return contents;
  }

  private static List<Path> files(Path dir) throws IOException {
    try (Stream<Path> files = Files.list(dir)) {
      return files.toList();
    }
  }

  private void requireExpected(String out) throws IOException {
    Map<String, byte[]> actual = contents(out);
    assertThat(actual.keySet()).isEqualTo(expected.keySet());
    actual.forEach((name, bytes) -> assertThat(bytes).as(name).isEqualTo(expected.get(name)));
  }

  @Test
  void afterAKillHalfWay() throws IOException {
    Path partial = folder.resolve(".killed.merging");
    Path note = partial.resolve("model-00001-of-000" + TENSORS + ".safetensors.checksums.json");
    try (SparkPeftProcess process = start("killed", "--threads", "1")) {
      process.awaitThat("a finished shard", () -> Files.exists(note));
      process.kill();
    }
    assertThat(folder.resolve("killed")).doesNotExist();
    Map<String, FileTime> finished = new TreeMap<>();
    FileTime then = FileTime.fromMillis(1_000_000_000_000L);
    for (Path file : files(partial)) {
      String name = file.getFileName().toString();
      if (name.matches(SHARD)) {
        // Whatever has its final name is complete.
        assertThat(Files.readAllBytes(file)).as(name).isEqualTo(expected.get(name));
        if (Files.exists(partial.resolve(name + ".checksums.json"))) {
          Files.setLastModifiedTime(file, then);
          finished.put(name, then);
        }
      }
    }
    assertThat(finished.size()).isBetween(1, TENSORS - 1);

    JsonNode summary = merge("killed");
    assertThat(summary.path("shards_kept").asInt()).isEqualTo(finished.size());
    requireExpected("killed");
    for (Path file : files(folder.resolve("killed"))) {
      boolean kept = finished.containsKey(file.getFileName().toString());
      assertThat(Files.getLastModifiedTime(file).equals(then)).as(file.toString()).isEqualTo(kept);
    }
    assertThat(partial).doesNotExist();
  }

  @Test
  void onTwoExecutorProcesses() throws IOException {
    merge("cluster", "--master", "local-cluster[2,1,1024]");
    requireExpected("cluster");
  }

  @Test
  void aFailureOnAnExecutorIsOneLineAndExitCode3() throws IOException {
    Path broken = folder.resolve("m1-broken");
    ObjectNode config = new ObjectMapper().createObjectNode().put("model_type", "tiny");
    List<TensorData> tensors = new ArrayList<>();
    for (int t = 0; t < TENSORS; t++) {
      float[] values = Philox.of(1, "base", t).uniform(ROWS * ROWS, -1, 1);
      values[77] = t == 5 ? Float.NaN : values[77];
      tensors.add(
          TensorData.ofFloats("layers." + t + ".w", List.of(ROWS, ROWS), values, DType.F32));
    }
    ModelDirectory.save(broken, config, TensorData.byName(tensors), List.of());
    try (SparkPeftProcess process =
        SparkPeftProcess.start(
            folder.resolve("scratch"),
            "merge",
            "--method",
            "linear",
            "--models",
            folder + "/m0," + broken,
            "--out",
            folder.resolve("never").toString(),
            "--master",
            "local-cluster[2,1,1024]")) {
      assertThat(process.await()).as(process.errors()).isEqualTo(3);
      assertThat(process.errors()).contains("entry 77 of layers.5.w is NaN");
      assertThat(process.errors()).doesNotContain("\tat ");
    }
    assertThat(folder.resolve("never")).doesNotExist();
  }
}
