package org.sparkpeft.federated.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.assertj.core.data.Percentage;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.federated.config.Recipe;

class BenchCommandTest {
  private static CommandResult run(String... args) {
    PrintStream nowhere =
        new PrintStream(new ByteArrayOutputStream(), true, StandardCharsets.UTF_8);
    return new SparkPeft(new FakeActions(), new Shell(Path.of(""), Map.of(), nowhere)).run(args);
  }

  private static JsonNode rows(CommandResult result) throws IOException {
    assertThat(result.exitCode()).as(result.error()).isZero();
    JsonNode json = new ObjectMapper().readTree(result.output());
    assertThat(json.path("machine").path("processors").asInt()).isPositive();
    return json.path("rows");
  }

  @Test
  void codecRowsHoldWhatTheyShould() throws IOException {
    JsonNode rows =
        rows(run("bench", "codec", "--entries", "20000", "--densities", "0.05", "--json"));
    assertThat(rows).hasSize(3 * 11);
    for (JsonNode row : rows) {
      if (row.path("codec").asText().equals("parquet")) {
        // 32 bits of a value, and its index.
        assertThat(row.path("bits_per_parameter").asDouble()).isGreaterThan(0.05 * 32);
        assertThat(row.path("decode_gb_per_s").asDouble()).isPositive();
      }
    }
    JsonNode first = rows.get(0);
    assertThat(first.path("codec").asText()).isEqualTo("ternary|auto");
    assertThat(first.path("entries").asInt()).isEqualTo(20_000);
    // H(0.05) and a sign: 0.2864 + 0.05 bits.
    assertThat(first.path("entropy_bound").asDouble()).isBetween(0.33, 0.345);
    assertThat(first.path("bits_per_parameter").asDouble())
        .isBetween(first.path("entropy_bound").asDouble(), 0.37);
    assertThat(first.path("encode_gb_per_s").asDouble()).isPositive();
    assertThat(first.path("decode_gb_per_s").asDouble()).isPositive();
  }

  @Test
  void clientsAreThoseAskedFor() {
    FakeActions actions = new FakeActions();
    PrintStream nowhere =
        new PrintStream(new ByteArrayOutputStream(), true, StandardCharsets.UTF_8);
    CommandResult result =
        new SparkPeft(actions, new Shell(Path.of(""), Map.of(), nowhere))
            .run(
                "bench",
                "clients",
                "--clients",
                "6",
                "--turns",
                "2",
                "--tokens",
                "12",
                "--set",
                "train.clients_per_pass=3");
    assertThat(result.exitCode()).as(result.error()).isZero();
    assertThat(actions.asked).contains("bench clients", 6, 2);
    Recipe recipe = (Recipe) actions.asked.get(1);
    assertThat(recipe.model().maxLength()).isEqualTo(12);
    assertThat(recipe.train().clientsPerPass().clients(recipe.train().batchSize())).isEqualTo(3);
  }

  @Test
  void trainsWhatIsAskedFor() {
    FakeActions actions = new FakeActions();
    PrintStream nowhere =
        new PrintStream(new ByteArrayOutputStream(), true, StandardCharsets.UTF_8);
    CommandResult result =
        new SparkPeft(actions, new Shell(Path.of("/here"), Map.of(), nowhere))
            .run(
                "bench",
                "train",
                "--method",
                "IA3",
                "--batch",
                "4",
                "--length",
                "16",
                "--threads",
                "2",
                "--steps",
                "7",
                "--out",
                "times.json",
                "--set",
                "train.optimizer=lion");
    assertThat(result.exitCode()).as(result.error()).isZero();
    Recipe recipe = (Recipe) actions.asked.get(1);
    assertThat(recipe.model().task()).isEqualTo("text-classification"); // the bundled encoder's
    assertThat(recipe.model().maxLength()).isEqualTo(16);
    assertThat(recipe.peft().peftType()).isEqualTo("IA3");
    assertThat(recipe.train().batchSize()).isEqualTo(4);
    assertThat(recipe.train().optimizer()).isEqualTo("lion");
    assertThat(recipe.spark().taskCpus()).isEqualTo(2);
    assertThat(actions.asked.get(2))
        .isEqualTo(new Actions.TrainBenchOptions(true, 3, 7, Path.of("/here/times.json")));
  }

  @Test
  void timesTheUpdatesOfATraining(@TempDir Path folder) throws IOException {
    PrintStream nowhere =
        new PrintStream(new ByteArrayOutputStream(), true, StandardCharsets.UTF_8);
    CommandResult result =
        new SparkPeft(new FederatedActions(), new Shell(folder, Map.of(), nowhere))
            .run(
                "bench",
                "train",
                "--batch",
                "2",
                "--length",
                "8",
                "--steps",
                "3",
                "--warmup",
                "0",
                "--out",
                "times.json",
                "--json");
    JsonNode row = rows(result).get(0);
    assertThat(row.path("steps").asInt()).isEqualTo(3);
    double seconds = 3 * row.path("batch").asInt() / row.path("examples_per_s").asDouble();
    assertThat(row.path("fastest_ms").asDouble()).isPositive().isLessThan(seconds * 1e3);
    assertThat(row.path("step_ms").asDouble())
        .isBetween(row.path("fastest_ms").asDouble(), seconds * 1e3);
    // All examples are of full length.
    assertThat(row.path("tokens_per_s").asDouble())
        .isCloseTo(8 * row.path("examples_per_s").asDouble(), Percentage.withPercentage(0.01));
    assertThat(row.path("loss").asDouble()).isBetween(1.0, 2.0); // ln 4 before anything is learnt
    assertThat(Files.readString(folder.resolve("times.json"))).contains("\"step_ms\"");
  }

  @Test
  void mistakesAreRefused() {
    assertThat(run("bench", "train", "--steps", "0").exitCode()).isEqualTo(2);
    assertThat(run("bench", "train", "--warmup", "-1").exitCode()).isEqualTo(2);
    assertThat(run("bench", "train", "--batch", "0").exitCode()).isEqualTo(2);
    assertThat(run("bench", "train", "--method", "LORE").exitCode()).isEqualTo(2);
    assertThat(run("bench", "train", "--model", "/not/there").exitCode()).isEqualTo(3);
    assertThat(run("bench", "clients", "--clients", "1").exitCode()).isEqualTo(2);
    assertThat(run("bench", "clients", "--turns", "0").exitCode()).isEqualTo(2);
    assertThat(run("bench", "clients", "--set", "train.local_steps=0").exitCode()).isEqualTo(2);
    assertThat(run("bench", "merge", "--vectors", "1").exitCode()).isEqualTo(2);
    assertThat(run("bench", "codec", "--densities", "0").exitCode()).isEqualTo(2);
  }
}
