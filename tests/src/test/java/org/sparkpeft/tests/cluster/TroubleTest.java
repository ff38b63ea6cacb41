package org.sparkpeft.tests.cluster;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestInstance;
import org.junit.jupiter.api.condition.EnabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.tests.support.SparkPeftProcess;
import org.sparkpeft.tests.support.TinyBert;

/** What a run does when a machine under it fails: an executor that hangs, a disk that is full. */
@TestInstance(TestInstance.Lifecycle.PER_CLASS)
@EnabledOnOs(OS.LINUX)
class TroubleTest {
  private static final ObjectMapper JSON = new ObjectMapper();

  @TempDir static Path folder;
  private Path recipe;

  @BeforeAll
  void writeInputs() throws IOException {
    TinyBert.write(folder.resolve("model"));
    TinyBert.writeRequests(folder.resolve("train.jsonl"), 600, 6, 1);
    TinyBert.writeRequests(folder.resolve("test.jsonl"), 60, 6, 2);
    recipe = folder.resolve("recipe.yaml");
    Files.writeString(
        recipe,
        """
        run:     {name: trouble, seed: 5}
        model:   {path: model, max_length: 16}
        data:    {train: train.jsonl, test: test.jsonl}
        clients: {partition: iid, count: 8}
        peft:    {peft_type: LORA, r: 16, target_modules: all-linear}
        train:   {local_epochs: 3, batch_size: 8, learning_rate: 1.0e-2}
        rounds:  {count: 3, stall_seconds: 12}
        server:  {optimizer: adam, learning_rate: 0.01}
        """,
        StandardCharsets.UTF_8);
  }

  private Path dir(String name) {
    return folder.resolve("runs").resolve(name);
  }

  private SparkPeftProcess start(String name, String master, String... more) {
    List<String> args = new ArrayList<>(List.of("train", "-c", recipe.toString()));
    args.addAll(List.of("--set", "run.dir=" + dir(name), "--master", master));
    args.addAll(List.of("--set", SparkPeftProcess.BRIEF_EXECUTORS));
    args.addAll(List.of(more));
    return SparkPeftProcess.start(folder.resolve("scratch"), args.toArray(String[]::new));
  }

  private List<JsonNode> events(String name, String event) throws IOException {
    Path log = dir(name).resolve("events.jsonl");
    List<JsonNode> found = new ArrayList<>();
    if (Files.exists(log)) {
      for (String line : Files.readAllLines(log)) {
        JsonNode node = JSON.readTree(line);
        if (node.path("event").asText().equals(event)) {
          found.add(node);
        }
      }
    }
    return found;
  }

  private boolean reached(String name, String event, int round) {
    try {
      return events(name, event).stream().anyMatch(node -> node.path("round").asInt() == round);
    } catch (IOException e) {
      return false; // The last line is still being written.
    }
  }

  private static void run(String... command) throws IOException, InterruptedException {
    Process process = new ProcessBuilder(command).inheritIO().start();
    assertThat(process.waitFor(10, TimeUnit.SECONDS)).isTrue();
    assertThat(process.exitValue()).as(String.join(" ", command)).isZero();
  }

  /** SIGSTOP leaves the executor's connections open, as a machine that swaps or hangs does. */
  @Test
  void theRoundGoesOnWithoutAnExecutorThatHangs() throws Exception {
    try (SparkPeftProcess process = start("hang", "local-cluster[2,1,1024]")) {
      process.awaitThat("round 2", () -> reached("hang", "round_started", 2));
      List<ProcessHandle> executors = process.executors();
      assertThat(executors).hasSize(2);
      run("kill", "-STOP", Long.toString(executors.get(0).pid()));
      JsonNode summary = process.summary(dir("hang"));
      assertThat(summary.path("rounds").asInt()).isEqualTo(3);
    }
    List<JsonNode> late =
        events("hang", "client_report").stream()
            .filter(node -> node.path("status").asText().equals("late"))
            .toList();
    assertThat(late).isNotEmpty();
    assertThat(late.get(0).path("error").asText()).contains("rounds.stall_seconds: 12");
    for (JsonNode finished : events("hang", "round_finished")) {
      assertThat(finished.path("clients_ok").asInt()).isPositive();
    }
  }

  /** A limit on file sizes fails a write as a full disk does, at a moment the test chooses. */
  @Test
  void aFullDiskWhileCheckpointingLosesNothing() throws Exception {
    String expected;
    try (SparkPeftProcess process = start("roomy", "local[2]")) {
      expected = process.summary(dir("roomy")).path("adapter_sha256").asText();
    }
    try (SparkPeftProcess process = start("full", "local[2]")) {
      process.awaitThat("round 1", () -> reached("full", "round_finished", 1));
      long bytes = Files.size(dir("full").resolve("checkpoints/round-0001/state.safetensors"));
      run("prlimit", "--pid", Long.toString(process.pid()), "--fsize=" + (bytes - 1));
      assertThat(process.await()).isEqualTo(1);
      assertThat(process.errors())
          .contains("checkpoints/round-000")
          .contains("Check free space")
          .doesNotContain("\tat ");
    }
    try (Stream<Path> left = Files.walk(dir("full"))) {
      assertThat(left.map(path -> path.getFileName().toString()))
          .noneMatch(name -> name.endsWith(".tmp") || name.endsWith(".old"));
    }
    try (SparkPeftProcess process = start("full", "local[2]", "--resume")) {
      JsonNode summary = process.summary(dir("full"));
      assertThat(summary.path("adapter_sha256").asText()).isEqualTo(expected);
    }
  }
}
