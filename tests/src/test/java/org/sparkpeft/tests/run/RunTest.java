package org.sparkpeft.tests.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.apache.spark.sql.SparkSession;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.peft.HeadOnlyConfig;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.federated.cli.JobMain;
import org.sparkpeft.federated.client.ExecutorRuntime;
import org.sparkpeft.federated.client.KryoRegistrations;
import org.sparkpeft.federated.client.RuntimeSpec;
import org.sparkpeft.federated.round.RoundFailedException;
import org.sparkpeft.tests.support.TinyBert;

/**
 * Whole runs in the session of a notebook or job: every task, partition, aggregation and codec, and
 * what goes wrong.
 */
class RunTest {
  @TempDir static Path folder;
  private static SparkSession spark;
  private static int runs;

  @BeforeAll
  static void prepare() throws IOException {
    spark =
        SparkSession.builder()
            .master("local[2]")
            .config("spark.ui.enabled", false)
            .config("spark.sql.shuffle.partitions", 2)
            .config("spark.serializer", "org.apache.spark.serializer.KryoSerializer")
            .config("spark.kryo.registrationRequired", true)
            .config("spark.kryo.registrator", KryoRegistrations.class.getName())
            .getOrCreate();
    TinyBert.write(folder.resolve("model"));
    TinyBert.writeRequests(folder.resolve("train.jsonl"), 60, 3, 1);
    TinyBert.writeRequests(folder.resolve("test.jsonl"), 20, 3, 2);
    write(
        "recipe.yaml",
        """
        run:      {name: small, seed: 3}
        model:    {path: model, max_length: 16}
        data:     {train: train.jsonl, test: test.jsonl}
        clients:  {partition: iid, count: 3}
        rounds:   {count: 2}
        """);
  }

  @AfterAll
  static void stop() {
    spark.stop();
  }

  private static Path write(String name, String text) throws IOException {
    return Files.writeString(folder.resolve(name), text, StandardCharsets.UTF_8);
  }

  /** Trains with the given settings and returns the summary. */
  private static JsonNode train(String... settings) throws IOException {
    Path dir = folder.resolve("runs").resolve(Integer.toString(runs++));
    trainIn(dir, settings);
    return new ObjectMapper().readTree(dir.resolve("summary.json").toFile());
  }

  private static void trainIn(Path dir, String... settings) {
    List<String> args =
        new ArrayList<>(List.of("train", "-c", folder.resolve("recipe.yaml").toString(), "--json"));
    args.addAll(List.of("--set", "run.dir=" + dir));
    for (String setting : settings) {
      args.addAll(List.of("--set", setting));
    }
    JobMain.main(args.toArray(String[]::new));
  }

  @ParameterizedTest
  @CsvSource({"column, 3", "iid, 3", "dirichlet, 3", "shard, 3", "quantity, 3"})
  void everyPartition(String partition, int clients) throws IOException {
    JsonNode summary = train("clients.partition=" + partition, "clients.column=client");
    assertThat(summary.get("clients").asInt()).isEqualTo(clients);
    assertThat(summary.get("rounds").asInt()).isEqualTo(2);
    assertThat(summary.get("final.accuracy").asDouble()).isBetween(0.0, 1.0);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "aggregate.method=fedavg", "aggregate.method=fedprox", "aggregate.method=task_arithmetic",
            "aggregate.method=ties",
        "aggregate.weighting=uniform", "server.momentum=0.9", "server.optimizer=adam",
            "server.optimizer=yogi",
        "server.optimizer=adagrad", "compress.uplink.codec=topk", "compress.uplink.codec=int8",
            "compress.uplink.codec=fp16",
        "compress.uplink.codec=none", "compress.uplink.scale=sigma",
            "compress.uplink.error_feedback=false", "train.optimizer=sgd",
        "peft.use_rslora=true", "model.fuse=true", "model.pooling=mean",
            "train.schedule_scope=round"
      })
  void everyChoiceTrainsToAnAdapterOfItsOwn(String setting) throws IOException {
    String[] common = {
      "clients.partition=quantity", "aggregate.lambda=0.5", "server.learning_rate=0.5"
    };
    String plain = train(common).get("adapter_sha256").asText();
    String chosen =
        train(Stream.concat(Stream.of(common), Stream.of(setting)).toArray(String[]::new))
            .get("adapter_sha256")
            .asText();
    boolean same = List.of("aggregate.method=fedavg", "model.fuse=true").contains(setting);
    assertThat(chosen.equals(plain)).as(setting).isEqualTo(same);
  }

  @Test
  void everyTask() throws IOException {
    write(
        "multi.jsonl",
        "{\"text\": \"hello buy\", \"y\": [\"a\", \"b\"]}\n{\"text\": \"bye\", \"y\": [\"b\"]}\n"
            .repeat(6));
    assertThat(task("multi-label-classification", "multi").get("final.macro_f1").asDouble())
        .isBetween(0.0, 1.0);
    write(
        "numbers.jsonl",
        "{\"text\": \"hello\", \"y\": 0.5}\n{\"text\": \"bye now\", \"y\": -1}\n".repeat(6));
    assertThat(task("regression", "numbers").get("final.loss").asDouble()).isPositive();
    write(
        "words.jsonl",
        "{\"text\": [\"hello\", \"friend\"], \"y\": [\"G\", \"O\"]}\n{\"text\": [\"bye\"], \"y\": [\"O\"]}\n"
            .repeat(6));
    assertThat(task("token-classification", "words").get("final.accuracy").asDouble())
        .isBetween(0.0, 1.0);
    write(
        "pairs.jsonl",
        "{\"text\": \"hello friend\", \"other\": \"hi\"}\n{\"text\": \"bye\", \"other\": \"farewell now\"}\n"
            .repeat(6));
    assertThat(
            task("sentence-embedding", "pairs", "data.text_pair=other", "peft.modules_to_save=[]")
                .get("final.loss")
                .asDouble())
        .isPositive();
  }

  private static JsonNode task(String task, String data, String... more) throws IOException {
    List<String> settings =
        new ArrayList<>(
            List.of(
                "model.task=" + task,
                "data.train=" + data + ".jsonl",
                "data.test=" + data + ".jsonl",
                "data.label=y"));
    settings.addAll(List.of(more));
    return train(settings.toArray(String[]::new));
  }

  @Test
  void referencesAndClientsAreEvaluated() throws IOException {
    JsonNode summary =
        train("evaluate.references=[baseline, head_only, central]", "evaluate.per_client=true");
    for (String key :
        List.of(
            "baseline.accuracy",
            "head_only.accuracy",
            "central.accuracy",
            "client.accuracy.min",
            "client.accuracy.max")) {
      assertThat(summary.get(key).asDouble()).as(key).isBetween(0.0, 1.0);
    }
  }

  @Test
  void aRunIsNotOverwrittenAndResumesToTheSameBits() throws IOException {
    Path dir = folder.resolve("runs").resolve("twice");
    trainIn(dir);
    byte[] adapter = Files.readAllBytes(dir.resolve("adapter/adapter_model.safetensors"));
    assertThatThrownBy(() -> trainIn(dir))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("--resume");
    List<String> args =
        List.of(
            "train",
            "-c",
            folder.resolve("recipe.yaml").toString(),
            "--json",
            "--set",
            "run.dir=" + dir,
            "--resume");
    JobMain.main(args.toArray(String[]::new));
    assertThat(Files.readAllBytes(dir.resolve("adapter/adapter_model.safetensors")))
        .isEqualTo(adapter);
    List<String> other = new ArrayList<>(args);
    other.addAll(List.of("--set", "peft.r=2"));
    assertThatThrownBy(() -> JobMain.main(other.toArray(String[]::new)))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("peft.r");
  }

  @Test
  void unusableDataIsNamed() throws IOException {
    write(
        "nulls.jsonl", "{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"b\", \"label\": null}\n");
    write(
        "one.jsonl", "{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"b\", \"label\": \"x\"}\n");
    assertThatThrownBy(() -> train("data.train=nulls.jsonl"))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("null in 1 of 2");
    assertThatThrownBy(() -> train("data.train=one.jsonl"))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("at least two");
    assertThatThrownBy(() -> train("data.label=missing"))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("there is no column \"missing\"")
        .hasMessageContaining("client, label, text");
    assertThatThrownBy(() -> train("data.train=nowhere.jsonl"))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("nowhere.jsonl");
    assertThatThrownBy(() -> train("clients.count=100"))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("clients.count");
  }

  @Test
  void aJvmKeepsTheFourBasesUsedLast() {
    TunableModel first = base(2).model();
    TunableModel headOnly = ExecutorRuntime.of(spec(2).withPeft(HeadOnlyConfig.defaults())).model();
    base(3);
    base(4);
    base(5);
    assertThat(base(2).model()).isSameAs(first);
    base(6); // forgets the one with 3 classes: that with 2 was used since
    assertThat(base(2).model()).isSameAs(first);
    assertThat(ExecutorRuntime.of(spec(2).withPeft(HeadOnlyConfig.defaults())).model())
        .isSameAs(headOnly);
    for (int classes = 7; classes < 11; classes++) {
      base(classes);
    }
    assertThat(base(2).model()).isNotSameAs(first);
  }

  private static ExecutorRuntime base(int classes) {
    return ExecutorRuntime.of(spec(classes));
  }

  private static RuntimeSpec spec(int classes) {
    List<String> labels = IntStream.range(0, classes).mapToObj(i -> "class-" + i).toList();
    return new RuntimeSpec(
        folder.resolve("model").toString(),
        new TaskConfig("text-classification", labels, "mean", 16),
        LoraConfig.defaults(),
        1);
  }

  @Test
  void aRunThatNeverBeganLeavesNothing() throws IOException {
    Path dir = folder.resolve("runs").resolve("never");
    assertThatThrownBy(() -> trainIn(dir, "data.label=missing")).isInstanceOf(DataException.class);
    assertThat(dir).doesNotExist();
    trainIn(dir);
    assertThat(dir.resolve("adapter")).exists();
  }

  /** Spark throws what it does not declare. */
  @Test
  void whatFailsInATaskIsToldInOneLine() throws IOException {
    write("texts.jsonl", "{\"text\": \"hello\", \"label\": \"x\", \"n\": 1}\n".repeat(3));
    assertThatThrownBy(
            () ->
                train(
                    "data.train=texts.jsonl",
                    "data.test=texts.jsonl",
                    "model.task=regression",
                    "data.label=label"))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("label")
        .hasMessageNotContaining("\tat ");
  }

  @Test
  void unusableModelsAreNamed() throws IOException {
    assertThatThrownBy(() -> train("model.path=nowhere"))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("nowhere");
    Path broken = TinyBert.write(folder.resolve("broken"));
    byte[] whole = Files.readAllBytes(broken.resolve("model.safetensors"));
    Files.write(broken.resolve("model.safetensors"), java.util.Arrays.copyOf(whole, 100));
    assertThatThrownBy(() -> train("model.path=broken"))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("model.safetensors");
    Path foreign = TinyBert.write(folder.resolve("foreign"));
    String config = Files.readString(foreign.resolve("config.json"));
    Files.writeString(
        foreign.resolve("config.json"), config.replaceFirst("\"bert\"", "\"unheard-of\""));
    assertThatThrownBy(() -> train("model.path=foreign"))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("unheard-of");
    assertThatThrownBy(() -> train("model.max_length=9999"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("model.max_length")
        .hasMessageContaining("32 positions");
  }

  @Test
  void aRoundWithoutUsableUpdatesEndsTheRun() {
    // Decay of 1,000 times the parameter: infinite after a dozen updates.
    assertThatThrownBy(
            () ->
                train("train.learning_rate=100", "train.weight_decay=10", "train.local_epochs=20"))
        .isInstanceOf(RoundFailedException.class)
        .hasMessageContaining("round 1")
        .hasMessageContaining("rounds.min_clients")
        .hasMessageContaining("dropped");
  }

  @Test
  void oneClientWithoutAUsableUpdateIsDroppedAndReported() throws IOException {
    String good = "{\"text\": \"hello\", \"y\": 0.5, \"client\": \"%s\"}\n".repeat(4);
    String bad = "{\"text\": \"bye now\", \"y\": 3e38, \"client\": \"c\"}\n".repeat(4);
    write("overflow.jsonl", good.replace("%s", "a") + good.replace("%s", "b") + bad);
    write("calm.jsonl", good.replace("%s", "a"));
    JsonNode summary =
        task(
            "regression",
            "overflow",
            "data.test=calm.jsonl",
            "clients.partition=column",
            "clients.column=client");
    assertThat(summary.get("rounds").asInt()).isEqualTo(2);
    assertThat(summary.get("final.loss").asDouble()).isBetween(0.0, 1.0);
    Path events = folder.resolve("runs").resolve(Integer.toString(runs - 1) + "/events.jsonl");
    assertThat(Files.readAllLines(events))
        .filteredOn(line -> line.contains("\"dropped\""))
        .hasSize(2)
        .allSatisfy(line -> assertThat(line).contains("\"c\"").contains("the loss"));
  }

  /**
   * Who shares a pass follows from the cohort: the same bits again and however Spark splits the
   * rows, and up to rounding those of clients on their own.
   */
  @Test
  void clientsThatSharePassesTrainAsAlone() throws IOException {
    String[] common = {
      "clients.partition=dirichlet",
      "clients.count=7",
      "clients.concentration=0.5",
      "clients.min_examples=1",
      "rounds.clients_per_round=6",
      "train.local_epochs=2",
      "compress.uplink.codec=none",
      "compress.downlink.codec=none"
    };
    JsonNode alone = train(common);
    JsonNode shared = train(with(common, "train.clients_per_pass=4"));
    int run = runs - 1;
    for (String key : List.of("final.accuracy", "final.loss")) {
      assertThat(shared.get(key).asDouble())
          .as(key)
          .isCloseTo(alone.get(key).asDouble(), Offset.offset(1e-5));
    }
    assertThat(shared.get("rounds").asInt()).isEqualTo(2);
    // Whether passes were shared at all shows in the bits, and they are those of no other grouping.
    String sha = shared.get("adapter_sha256").asText();
    assertThat(sha).isNotEqualTo(alone.get("adapter_sha256").asText());
    assertThat(train(with(common, "train.clients_per_pass=4")).get("adapter_sha256").asText())
        .isEqualTo(sha);
    Path parts = Files.createDirectories(folder.resolve("parts"));
    List<String> lines = Files.readAllLines(folder.resolve("train.jsonl"));
    for (int part = 0; part < 5; part++) {
      int own = part;
      Files.write(
          parts.resolve(part + ".json"),
          IntStream.range(0, lines.size())
              .filter(line -> line % 5 == own)
              .mapToObj(lines::get)
              .toList());
    }
    assertThat(
            train(with(common, "train.clients_per_pass=4", "data.train=parts"))
                .get("adapter_sha256")
                .asText())
        .isEqualTo(sha);
    Path events = folder.resolve("runs").resolve(run + "/events.jsonl");
    assertThat(Files.readAllLines(events))
        .filteredOn(line -> line.contains("\"client_report\""))
        .hasSize(12)
        .allSatisfy(line -> assertThat(line).contains("\"ok\""));
  }

  @Test
  void clientsThatCannotSharePassesTrainOneByOne() throws IOException {
    String alone = train("peft.lora_dropout=0.1").get("adapter_sha256").asText();
    assertThat(
            train("peft.lora_dropout=0.1", "train.clients_per_pass=auto")
                .get("adapter_sha256")
                .asText())
        .isEqualTo(alone);
  }

  @Test
  void aClientOfASharedPassWithoutAUsableUpdateIsDropped() throws IOException {
    String good = "{\"text\": \"hello\", \"y\": 0.5, \"client\": \"%s\"}\n".repeat(4);
    String bad = "{\"text\": \"bye now\", \"y\": 3e38, \"client\": \"c\"}\n".repeat(4);
    write("overflow.jsonl", good.replace("%s", "a") + good.replace("%s", "b") + bad);
    write("calm.jsonl", good.replace("%s", "a"));
    JsonNode summary =
        task(
            "regression",
            "overflow",
            "data.test=calm.jsonl",
            "train.clients_per_pass=3",
            "clients.partition=column",
            "clients.column=client");
    assertThat(summary.get("final.loss").asDouble()).isBetween(0.0, 1.0);
    Path events = folder.resolve("runs").resolve(Integer.toString(runs - 1) + "/events.jsonl");
    assertThat(Files.readAllLines(events))
        .filteredOn(line -> line.contains("\"dropped\""))
        .hasSize(2)
        .allSatisfy(line -> assertThat(line).contains("\"c\"").contains("the loss"));
  }

  private static String[] with(String[] common, String... more) {
    return Stream.concat(Stream.of(common), Stream.of(more)).toArray(String[]::new);
  }

  @Test
  void tooFewSlotsAreNamed() {
    assertThatThrownBy(() -> train("rounds.concurrency=4"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("2 free task slots")
        .hasMessageContaining("needed 4");
  }
}
