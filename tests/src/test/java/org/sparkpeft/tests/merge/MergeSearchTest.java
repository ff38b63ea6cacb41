package org.sparkpeft.tests.merge;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.sql.SparkSession;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.train.Evaluation;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.federated.cli.JobMain;
import org.sparkpeft.federated.client.EvaluationJob;
import org.sparkpeft.federated.client.ExampleShards;
import org.sparkpeft.federated.client.FederatedData;
import org.sparkpeft.federated.client.KryoRegistrations;
import org.sparkpeft.federated.client.TunedAdapter;
import org.sparkpeft.federated.search.MergeSearch;
import org.sparkpeft.merge.adapter.AdapterFile;
import org.sparkpeft.merge.adapter.AdapterMerge;
import org.sparkpeft.merge.adapter.AdapterMerge.Heads;
import org.sparkpeft.merge.adapter.AdapterSet;
import org.sparkpeft.merge.compress.Pipeline;
import org.sparkpeft.merge.recipe.SearchConfig;
import org.sparkpeft.merge.recipe.SearchTask;
import org.sparkpeft.tests.support.SparkPeftProcess;
import org.sparkpeft.tests.support.TinyBert;

/** Merges of adapters whose numbers are found on validation data: a good adapter and a bad one. */
class MergeSearchTest {
  @TempDir static Path folder;
  private static SparkSession spark;
  private static Path good;
  private static Path bad;
  private static Path validation;

  @BeforeAll
  static void trainOneAdapterAndSpoilAnother() throws IOException {
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
    TinyBert.writeRequests(folder.resolve("train.jsonl"), 300, 3, 1);
    validation = TinyBert.writeRequests(folder.resolve("validation.jsonl"), 300, 3, 2);
    TinyBert.writeRequests(folder.resolve("wrong.jsonl"), 300, 3, 3);
    // The other learns greetings as orders and the like.
    Path wrong = folder.resolve("wrong.jsonl");
    Files.writeString(
        wrong,
        Files.readString(wrong)
            .replace("\"greet\"", "\"x\"")
            .replace("\"leave\"", "\"greet\"")
            .replace("\"order\"", "\"leave\"")
            .replace("\"x\"", "\"order\""));
    good = train("train.jsonl");
    bad = train("wrong.jsonl");
  }

  private static Path train(String data) throws IOException {
    Path recipe =
        Files.writeString(
            folder.resolve(data + ".yaml"),
            """
            run:      {name: small, seed: 3, dir: run-%s}
            model:    {path: model, max_length: 16}
            data:     {train: %s, test: validation.jsonl}
            clients:  {partition: iid, count: 2}
            peft:     {peft_type: LORA, r: 2, lora_alpha: 4, target_modules: [query, value], modules_to_save: [classifier]}
            train:    {local_epochs: 4, batch_size: 8, learning_rate: 2.0e-2}
            rounds:   {count: 3}
            compress: {uplink: {codec: none}, downlink: {codec: none}}
            """
                .formatted(data, data),
            StandardCharsets.UTF_8);
    JobMain.main(new String[] {"train", "-c", recipe.toString()});
    return folder.resolve("run-" + data).resolve("adapter");
  }

  @AfterAll
  static void stop() {
    spark.stop();
  }

  private static SearchConfig config(String mergeMethod, String method, String over, String head) {
    SearchConfig d = SearchConfig.defaults(mergeMethod);
    SearchTask task = SearchTask.defaults().withPlaces(validation.toString(), head);
    return new SearchConfig(
        method,
        List.of(over.split(",")),
        "loss",
        30,
        d.penalty(),
        5,
        "",
        d.weights(),
        d.density(),
        d.lambda(),
        List.of(task));
  }

  private static MergeSearch search(String mergeMethod, Heads heads) {
    return new MergeSearch(
        AdapterSet.read(List.of(good, bad), false),
        good,
        new AdapterMerge(mergeMethod, 0.8, 0, 1),
        heads,
        List.of(0.5, 0.5));
  }

  private static double loss(Path adapter) {
    TaskConfig task = new TaskConfig("text-classification", TinyBert.LABELS, "auto", 16);
    TunedAdapter tuned =
        TunedAdapter.read(
            adapter, Optional.of(folder.resolve("model").toString()), Optional.of(task));
    try (ExampleShards shards =
        FederatedData.testShards(
            spark.read().json(validation.toString()), "text", "", "label", tuned.runtime())) {
      return EvaluationJob.run(
              JavaSparkContext.fromSparkContext(spark.sparkContext()),
              shards,
              tuned.runtime(),
              tuned.parameters())
          .values()
          .stream()
          .reduce(Evaluation::merge)
          .orElseThrow()
          .loss();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"nelder_mead", "cma_es", "grid"})
  void theGoodAdapterIsFound(String method) {
    MergeSearch search = search("cat", Heads.MEAN);
    MergeSearch.Found found = search.run(spark, config("cat", method, "weights", ""));
    assertThat(found.weights().get(0)).isGreaterThan(found.weights().get(1) + 0.3);
    assertThat(found.evaluations()).isBetween(20, 30);
    assertThat(search.run(spark, config("cat", method, "weights", ""))).isEqualTo(found);
  }

  @Test
  void densityAndLambdaAreFoundToo() {
    MergeSearch.Found found =
        search("ties", Heads.DROP)
            .run(spark, config("ties", "grid", "lambda,density", good.toString()));
    SearchConfig d = SearchConfig.defaults("ties");
    assertThat(found.evaluations())
        .isEqualTo(d.lambda().values().size() * d.density().values().size());
    assertThat(found.weights()).containsExactly(0.5, 0.5);
    assertThat(d.lambda().values()).contains(found.how().lambda());
    assertThat(d.density().values()).contains(found.how().density());
  }

  @Test
  void loraHubPaysForItsWeights() {
    MergeSearch search = search("lorahub", Heads.MEAN);
    MergeSearch.Found found = search.run(spark, config("lorahub", "cma_es", "weights", ""));
    assertThat(found.weights()).allMatch(w -> Math.abs(w) <= 1.5);
    Path out = folder.resolve("hub");
    Path start = folder.resolve("start");
    found.how().merge(List.of(good, bad), List.of(0.0, 0.0), start, Heads.MEAN, false);
    found.how().merge(List.of(good, bad), found.weights(), out, Heads.MEAN, false);
    double size = found.weights().stream().mapToDouble(Math::abs).average().orElseThrow();
    assertThat(-found.score())
        .isCloseTo(loss(out) + 0.05 * size, within(1e-5))
        .isLessThan(loss(start));
  }

  @Test
  void whatCannotBeSearchedIsRefused() {
    MergeSearch search = search("cat", Heads.MEAN);
    assertThatThrownBy(() -> search.run(spark, config("cat", "grid", "density", "")))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("cat has no density");
    SearchConfig few =
        new SearchConfig(
            "cma_es",
            List.of("weights"),
            "accuracy",
            3,
            0,
            0,
            "",
            config("cat", "grid", "weights", "").weights(),
            config("cat", "grid", "weights", "").density(),
            config("cat", "grid", "weights", "").lambda(),
            config("cat", "grid", "weights", "").tasks());
    assertThatThrownBy(() -> search.run(spark, few))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("one generation, 7 for 2 numbers; got 3");
  }

  private static String[] command(String master, Path out) {
    return new String[] {
      "merge",
      "--method",
      "svd",
      "--rank",
      "4",
      "--models",
      good + "," + bad,
      "--weights",
      "0.5,0.5",
      "--search-data",
      validation.toString(),
      "--metric",
      "loss",
      "--evaluations",
      "25",
      "--seed",
      "4",
      "--master",
      master,
      "--out",
      out.toString(),
      "--json"
    };
  }

  /** The command writes and tells what it found: here on two threads, there on one. */
  @Test
  void theCommandWritesAndTellsWhatItFound() throws IOException {
    Path here = folder.resolve("here");
    Path there = folder.resolve("there");
    JobMain.main(command("local[2]", here));
    JsonNode result;
    try (SparkPeftProcess process =
        SparkPeftProcess.start(folder.resolve("scratch"), command("local[1]", there))) {
      assertThat(process.await()).as(process.errors()).isZero();
      result = new ObjectMapper().readTree(process.output());
    }
    assertThat(result.get("weights")).hasSize(2);
    assertThat(result.get("search").asText()).isEqualTo("cma_es");
    assertThat(result.get("evaluations").asInt()).isEqualTo(25);
    for (String file : List.of("adapter_model.safetensors", "adapter_config.json")) {
      assertThat(here.resolve(file)).hasSameBinaryContentAs(there.resolve(file));
    }
    double found = result.get("score").asDouble();
    assertThat(loss(here)).isCloseTo(found, within(1e-5));
    assertThat(found).isLessThan(loss(bad));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = ';',
      value = {
        "global; ternary(sigma; topk(0.05)|ternary(sigma, 0.5); topk(0.5)|ternary(sigma, 10)",
        "tensor; , tensor)|ternary(mean; topk(0.05, tensor)|ternary(mean); topk(0.5, tensor)|ternary(mean, 3)"
      })
  void compressionIsFoundOnValidationData(
      String selection, String stages, String corner, String otherCorner) {
    Path file = folder.resolve("good.spta");
    JobMain.main(
        new String[] {
          "compress",
          "--adapter",
          good.toString(),
          "--search-data",
          validation.toString(),
          "--metric",
          "loss",
          "--selection",
          selection,
          "--out",
          file.toString()
        });
    String pipeline = AdapterFile.read(file).pipeline();
    assertThat(pipeline).startsWith("topk(").contains(stages);
    JobMain.main(
        new String[] {"decompress", file.toString(), "--out", folder.resolve("again").toString()});
    double best = loss(folder.resolve("again"));
    // No other of the grid is better; two of its corners stand for all.
    for (String other : List.of(corner, otherCorner)) {
      Path tried = folder.resolve("tried.spta");
      AdapterFile.compress(good, Optional.empty(), Pipeline.parse(other), tried)
          .decompress(folder.resolve("tried"), Optional.empty());
      assertThat(best).as(pipeline).isLessThanOrEqualTo(loss(folder.resolve("tried")));
    }
  }
}
