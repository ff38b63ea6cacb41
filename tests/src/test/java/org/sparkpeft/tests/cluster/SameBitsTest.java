package org.sparkpeft.tests.cluster;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.io.SafetensorsFile;
import org.sparkpeft.tests.support.SparkPeftProcess;
import org.sparkpeft.tests.support.TinyBert;

/**
 * The same recipe gives the same adapter, bit for bit: on one thread, two threads, two executor
 * processes, with speculation, after an executor was killed in a round, and after the driver was
 * killed and the run resumed.
 */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
class SameBitsTest {
  private static final String CLUSTER = "local-cluster[2,1,1024]";

  @TempDir static Path folder;
  private Path recipe;
  private String expected;

  @BeforeAll
  void trainOnOneThread() throws IOException {
    TinyBert.write(folder.resolve("model"));
    TinyBert.writeRequests(folder.resolve("train.jsonl"), 600, 6, 1);
    TinyBert.writeRequests(folder.resolve("test.jsonl"), 120, 6, 2);
    recipe = folder.resolve("recipe.yaml");
    Files.writeString(
        recipe,
        """
        run:      {name: same-bits, seed: 11}
        model:    {path: model, max_length: 16}
        data:     {train: train.jsonl, test: test.jsonl}
        clients:  {partition: dirichlet, count: 8, concentration: 0.5, min_examples: 4}
        peft:     {peft_type: LORA, r: 4, lora_alpha: 8, lora_dropout: 0.1, target_modules: [query, value]}
        train:    {local_epochs: 6, batch_size: 8, learning_rate: 1.0e-2}
        rounds:   {count: 4, clients_per_round: 5}
        compress: {uplink: {density: 0.1}, downlink: {density: 0.2}}
        """,
        StandardCharsets.UTF_8);
    JsonNode summary = train("one", "local[1]");
    expected = summary.get("adapter_sha256").asText();
    assertThat(expected).matches("[0-9a-f]{64}");
    assertThat(everyUpMatrixMoved(dir("one").resolve("adapter"))).isTrue();
  }

  /** LoRA's B starts at zero: one that is not zero was trained, sent, folded and exported. */
  private static boolean everyUpMatrixMoved(Path adapter) {
    try (SafetensorsFile file =
        SafetensorsFile.open(adapter.resolve("adapter_model.safetensors"))) {
      return file.names().stream()
          .filter(name -> name.endsWith("lora_B.weight"))
          .allMatch(
              name -> {
                for (float value : file.floats(name)) {
                  if (value != 0) {
                    return true;
                  }
                }
                return false;
              });
    }
  }

  private Path dir(String name) {
    return folder.resolve("runs").resolve(name);
  }

  private SparkPeftProcess start(String name, String master, String... more) {
    List<String> args =
        new java.util.ArrayList<>(
            List.of(
                "train",
                "-c",
                recipe.toString(),
                "--set",
                "run.dir=" + dir(name),
                "--master",
                master));
    args.addAll(List.of("--set", SparkPeftProcess.BRIEF_EXECUTORS));
    args.addAll(List.of(more));
    return SparkPeftProcess.start(folder.resolve("scratch"), args.toArray(String[]::new));
  }

  private JsonNode train(String name, String master, String... more) {
    try (SparkPeftProcess process = start(name, master, more)) {
      return process.summary(dir(name));
    }
  }

  private boolean hasEvent(String name, String event, int round) {
    Path events = dir(name).resolve("events.jsonl");
    try {
      return Files.exists(events)
          && Files.readString(events, StandardCharsets.UTF_8)
              .lines()
              .anyMatch(
                  line ->
                      line.contains("\"" + event + "\"")
                          && line.contains("\"round\":" + round + ","));
    } catch (IOException e) {
      return false;
    }
  }

  @Test
  void onTwoThreads() {
    assertThat(train("two", "local[2]").get("adapter_sha256").asText()).isEqualTo(expected);
  }

  /** Groups span executors; who is in one does not depend on them. */
  @Test
  void withSharedPassesOnOneThreadAndOnTwoExecutors() {
    String[] shared = {
      "--set", "train.clients_per_pass=3", "--set", "peft.lora_dropout=0", "--set", "rounds.count=2"
    };
    String one = train("shared-one", "local[1]", shared).get("adapter_sha256").asText();
    assertThat(train("shared-cluster", CLUSTER, shared).get("adapter_sha256").asText())
        .isEqualTo(one);
  }

  @Test
  void onTwoExecutorsWithSpeculation() {
    JsonNode summary =
        train(
            "cluster",
            CLUSTER,
            "--set",
            "spark.conf.spark.speculation=true",
            "--set",
            "spark.conf.spark.speculation.quantile=0.1",
            "--set",
            "spark.conf.spark.speculation.multiplier=1.01",
            "--set",
            "spark.conf.spark.speculation.interval=20ms");
    assertThat(summary.get("adapter_sha256").asText()).isEqualTo(expected);
  }

  @Test
  void afterAnExecutorWasKilledInARound() {
    try (SparkPeftProcess process = start("killed-executor", CLUSTER)) {
      process.awaitThat("round 2", () -> hasEvent("killed-executor", "round_started", 2));
      List<ProcessHandle> executors = process.executors();
      assertThat(executors).hasSize(2);
      assertThat(executors.get(0).destroyForcibly()).isTrue();
      assertThat(process.summary(dir("killed-executor")).get("adapter_sha256").asText())
          .isEqualTo(expected);
    }
  }

  @Test
  void afterTheDriverWasKilledAndTheRunResumed() {
    try (SparkPeftProcess process = start("killed-driver", "local[2]")) {
      process.awaitThat("round 2", () -> hasEvent("killed-driver", "round_finished", 2));
      process.kill();
    }
    assertThat(dir("killed-driver").resolve("summary.json")).doesNotExist();
    JsonNode summary = train("killed-driver", "local[2]", "--resume");
    assertThat(summary.get("adapter_sha256").asText()).isEqualTo(expected);
    assertThat(summary.get("rounds").asInt()).isEqualTo(4);
  }
}
