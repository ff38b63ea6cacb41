package org.sparkpeft.tests.peft;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import org.apache.commons.io.FileUtils;
import org.apache.spark.sql.SparkSession;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.federated.cli.JobMain;
import org.sparkpeft.federated.client.TunedAdapter;
import org.sparkpeft.tests.support.TinyBert;

/**
 * Every method on the class path federates when a recipe names it: trains, is compressed, decides,
 * goes on after a stop to the same bits, is saved and read back.
 */
class MethodRunTest {
  @TempDir static Path folder;
  private static SparkSession spark;
  private static int runs;

  @BeforeAll
  static void prepare() throws IOException {
    spark =
        SparkSession.builder().master("local[2]").config("spark.ui.enabled", false).getOrCreate();
    TinyBert.write(folder.resolve("model"));
    TinyBert.writeRequests(folder.resolve("train.jsonl"), 48, 3, 1);
    TinyBert.writeRequests(folder.resolve("test.jsonl"), 20, 3, 2);
    Files.writeString(
        folder.resolve("recipe.yaml"),
        """
        run:      {name: method, seed: 3}
        model:    {path: model, max_length: 16}
        data:     {train: train.jsonl, test: test.jsonl}
        clients:  {partition: iid, count: 2}
        train:    {local_epochs: 1, batch_size: 8, learning_rate: 1.0e-2}
        rounds:   {count: 2}
        compress: {uplink: {density: 0.5}, downlink: {density: 0.5}}
        """,
        StandardCharsets.UTF_8);
  }

  @AfterAll
  static void stop() {
    spark.stop();
  }

  static Stream<String> types() {
    return PeftMethods.all().stream().map(PeftMethod::peftType);
  }

  private static void train(Path dir, String type, String... more) {
    List<String> args =
        new ArrayList<>(List.of("train", "-c", folder.resolve("recipe.yaml").toString(), "--json"));
    args.addAll(List.of("--set", "run.dir=" + dir, "--set", "peft.peft_type=" + type));
    TinySettings.of(type)
        .forEach((key, value) -> args.addAll(List.of("--set", "peft." + key + "=" + value)));
    args.addAll(List.of(more));
    JobMain.main(args.toArray(String[]::new));
  }

  private static Path dir() {
    return folder.resolve("runs").resolve(Integer.toString(runs++));
  }

  private static JsonNode summary(Path dir) throws IOException {
    return new ObjectMapper().readTree(dir.resolve("summary.json").toFile());
  }

  @ParameterizedTest
  @MethodSource("types")
  void federates(String type) throws IOException {
    Path whole = dir();
    train(whole, type);
    JsonNode summary = summary(whole);
    assertThat(summary.get("rounds").asInt()).isEqualTo(2);
    assertThat(summary.get("uplink.bytes").asLong()).isPositive();

    // One round, then the rest: what a round needs of the one before is in the checkpoint.
    Path parts = dir();
    FileUtils.copyDirectory(whole.toFile(), parts.toFile());
    FileUtils.deleteDirectory(parts.resolve("checkpoints/round-0002").toFile());
    Files.delete(parts.resolve("summary.json"));
    train(parts, type, "--resume");
    assertThat(summary(parts).get("adapter_sha256")).isEqualTo(summary.get("adapter_sha256"));

    TunedAdapter read =
        TunedAdapter.read(
            whole.resolve("adapter"),
            Optional.of(folder.resolve("model").toString()),
            Optional.empty());
    Path again = dir();
    TunedAdapter.write(again, read.runtime(), read.parameters());
    assertThat(again.resolve("adapter_model.safetensors"))
        .hasSameBinaryContentAs(whole.resolve("adapter/adapter_model.safetensors"));
  }

  @Test
  void aMethodFromOutsideDecidesAndKeepsPersonalTensors() {
    Path dir = dir();
    train(dir, "ECHO");
    AdapterDirectory adapter = AdapterDirectory.read(dir.resolve("adapter"));
    // 24 examples a client, batches of 8, two rounds.
    assertThat(adapter.tensors().get("base_model.model.echo_updates").toLongs()).containsExactly(6);
    adapter
        .tensors()
        .forEach(
            (name, tensor) -> {
              if (name.endsWith("echo_own")) {
                assertThat(tensor.toFloats()).as(name).containsOnly(0);
              } else if (name.endsWith("echo_shared")) {
                assertThat(tensor.toFloats()).as(name).isNotEqualTo(new float[16]);
              }
            });
    assertThat(dir.resolve("clients")).isNotEmptyDirectory();
  }
}
