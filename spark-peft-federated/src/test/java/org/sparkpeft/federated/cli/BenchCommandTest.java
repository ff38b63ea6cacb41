package org.sparkpeft.federated.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
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
  void mistakesAreRefused() {
    assertThat(run("bench", "clients", "--clients", "1").exitCode()).isEqualTo(2);
    assertThat(run("bench", "clients", "--turns", "0").exitCode()).isEqualTo(2);
    assertThat(run("bench", "clients", "--set", "train.local_steps=0").exitCode()).isEqualTo(2);
    assertThat(run("bench", "merge", "--vectors", "1").exitCode()).isEqualTo(2);
    assertThat(run("bench", "codec", "--densities", "0").exitCode()).isEqualTo(2);
  }
}
