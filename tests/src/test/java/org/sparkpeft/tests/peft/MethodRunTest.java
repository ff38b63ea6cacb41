package org.sparkpeft.tests.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import org.apache.commons.io.FileUtils;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.federated.cli.JobMain;
import org.sparkpeft.federated.client.TunedAdapter;
import org.sparkpeft.tests.support.Said;
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

  /**
   * Each request twice: in one dialect with the usual label, in the other with the next one.
   * Without the column at most half of the rows can be right.
   */
  @Test
  void tasksThatContradictEachOtherAreLearntByTheirColumn() throws IOException {
    Path rows = dialects("dialects.jsonl", List.of("plain", "turned"), 48);
    double without = accuracy(trained("POLY", rows, "peft.n_tasks=2", "peft.router_lr_ratio=50"));
    assertThat(without).isLessThanOrEqualTo(0.5);
    Path dir =
        trained("POLY", rows, "peft.n_tasks=2", "peft.router_lr_ratio=50", "data.task=dialect");
    assertThat(accuracy(dir)).isGreaterThan(0.9);
    Path scaled =
        trained(
            "MTLORA",
            rows,
            "peft.task_layers=[0, 1]",
            "peft.shared_scale=1",
            "peft.task_scale=1",
            "data.task=dialect");
    assertThat(accuracy(scaled)).isGreaterThan(0.9);

    assertThat(TunedAdapter.read(dir.resolve("adapter")).runtime().tasks())
        .containsExactly("plain", "turned");
    assertThat(Said.json("inspect", dir.resolve("adapter").toString()).at("/spark_peft.tasks"))
        .as("what --task-name and the column may say")
        .hasToString("[\"plain\",\"turned\"]");
    List<String> run = List.of("--run", dir.toString());
    List<String> adapter = new ArrayList<>();
    adapter.addAll(List.of("--adapter", dir.resolve("adapter").toString()));
    adapter.addAll(List.of("--model", folder.resolve("model").toString()));
    assertThat(predicted(rows, run)).as("by the run's column").isEqualTo(accuracy(dir));
    List<Row> same = spark.read().json(rows.toString()).limit(2).collectAsList();
    for (Row row : same) {
      assertThat(predicted(row.<String>getAs("text"), row.getAs("dialect"), run))
          .isEqualTo(row.<String>getAs("label"));
    }
    assertThatThrownBy(() -> predicted("hello", "foreign", run))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("training had no task \"foreign\"");
    assertThat(compressed(dir, rows)).as("all of the first task").isLessThanOrEqualTo(0.5);
    assertThat(compressed(dir, rows, "--task-column", "dialect")).isGreaterThan(0.55);
    assertThat(predicted(rows, adapter)).as("all of the first task").isLessThanOrEqualTo(0.5);
    adapter.addAll(List.of("--task-column", "dialect"));
    Path strange = dialects("strange.jsonl", List.of("turned", "foreign"), 4);
    assertThatThrownBy(() -> predicted(strange, adapter))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("training had no task \"foreign\"; it had plain, turned");
    assertThatThrownBy(
            () -> Said.json("evaluate", "--run", dir.toString(), "--data", strange.toString()))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("training had no task \"foreign\"");
    assertThatThrownBy(() -> predicted(folder.resolve("test.jsonl"), run))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("data.task: there is no column \"dialect\"");
  }

  private static double accuracy(Path dir) throws IOException {
    return summary(dir).get("final.accuracy").asDouble();
  }

  @Test
  void columnsThatNameNoTasksAreRefused() throws IOException {
    Path rows = dialects("three.jsonl", List.of("a", "b", "c"), 9);
    assertThatThrownBy(() -> train(dir(), "POLY", task(rows, "dialect", 2)))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining(
            "data.task: column \"dialect\" names 3 tasks (a, b, c), peft_type POLY has 2")
        .hasMessageContaining("raise peft.n_tasks");
    assertThatThrownBy(() -> train(dir(), "POLY", task(rows, "accent", 3)))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("data.task: there is no column \"accent\"");
    assertThatThrownBy(() -> train(dir(), "POLY", task(rows, "list", 3)))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("must hold strings or numbers, it holds array");
    assertThatThrownBy(() -> train(dir(), "POLY", task(rows, "empty", 3)))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("column \"empty\" is null in 1 rows");
  }

  private static String[] task(Path rows, String column, int tasks) {
    return new String[] {
      "--set", "data.train=" + rows,
      "--set", "data.test=" + rows,
      "--set", "data.task=" + column,
      "--set", "peft.n_tasks=" + tasks
    };
  }

  /** Trained by one client, and evaluated on the same rows. */
  private static Path trained(String type, Path rows, String... more) {
    List<String> settings = new ArrayList<>();
    for (String setting :
        List.of(
            "data.train=" + rows,
            "data.test=" + rows,
            "model.pooling=mean",
            "peft.target_modules=[query, value, dense]",
            "clients.count=1",
            "rounds.count=1",
            "train.local_epochs=60",
            "train.batch_size=32",
            "train.learning_rate=2.0e-2",
            "compress.uplink.codec=none",
            "compress.downlink.codec=none")) {
      settings.addAll(List.of("--set", setting));
    }
    for (String setting : more) {
      settings.addAll(List.of("--set", setting));
    }
    Path dir = dir();
    train(dir, type, settings.toArray(String[]::new));
    return dir;
  }

  /** Requests in each of some dialects, whose labels are that many steps from the usual. */
  private static Path dialects(String name, List<String> names, int count) throws IOException {
    Path plain = TinyBert.writeRequests(folder.resolve("plain.jsonl"), count, 3, 4);
    StringBuilder lines = new StringBuilder();
    ObjectMapper json = new ObjectMapper();
    for (String line : Files.readAllLines(plain)) {
      for (int d = 0; d < names.size(); d++) {
        ObjectNode row = (ObjectNode) json.readTree(line);
        int label = TinyBert.LABELS.indexOf(row.get("label").asText());
        row.put("label", TinyBert.LABELS.get((label + d) % TinyBert.LABELS.size()));
        row.put("dialect", names.get(d));
        row.putArray("list").add(d);
        row.put("empty", lines.isEmpty() ? null : "x");
        lines.append(row).append('\n');
      }
    }
    return Files.writeString(folder.resolve(name), lines.toString());
  }

  /** The label of a text of one task, by the command line. */
  private static String predicted(String text, String task, List<String> adapter)
      throws IOException {
    List<String> args = new ArrayList<>(List.of("predict", "--text", text, "--task-name", task));
    args.addAll(adapter);
    return Said.json(args.toArray(String[]::new)).at("/predictions/0/prediction").asText();
  }

  /** The accuracy at which a compressed adapter is found on the command line. */
  private static double compressed(Path run, Path rows, String... more) throws IOException {
    List<String> args = new ArrayList<>(List.of("compress", "--density", "0.5"));
    args.addAll(List.of("--adapter", run.resolve("adapter").toString()));
    args.addAll(List.of("--out", dir().resolve("small.spft").toString()));
    args.addAll(List.of("--search-data", rows.toString()));
    args.addAll(List.of(more));
    return Said.json(args.toArray(String[]::new)).get("score").asDouble();
  }

  /** The share of rows that a prediction on the command line gets right. */
  private static double predicted(Path rows, List<String> adapter) {
    Path out = dir();
    List<String> args = new ArrayList<>(List.of("predict", "--data", rows.toString()));
    args.addAll(List.of("--out", out.toString()));
    args.addAll(adapter);
    JobMain.main(args.toArray(String[]::new));
    Dataset<Row> found = spark.read().json(out.toString());
    return found.filter("prediction = label").count() / (double) found.count();
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
