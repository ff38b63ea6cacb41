package org.sparkpeft.tests.merge;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.sql.SparkSession;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.train.Evaluation;
import org.sparkpeft.federated.cli.JobMain;
import org.sparkpeft.federated.client.EvaluationJob;
import org.sparkpeft.federated.client.ExampleShards;
import org.sparkpeft.federated.client.FederatedData;
import org.sparkpeft.federated.client.TunedAdapter;
import org.sparkpeft.federated.config.SearchConfig;
import org.sparkpeft.federated.config.SearchTask;
import org.sparkpeft.federated.search.MergeSearch;
import org.sparkpeft.merge.adapter.AdapterFile;
import org.sparkpeft.merge.adapter.AdapterMerge;
import org.sparkpeft.merge.adapter.AdapterMerge.Heads;
import org.sparkpeft.merge.adapter.AdapterSet;
import org.sparkpeft.merge.compress.Pipeline;

/**
 * Two experts on one encoder, what a support request is about and which organisation it went to,
 * merged into one LoRA. Each task keeps its own head. What an expert gained is its accuracy above
 * that of the untuned encoder under the same head.
 */
class MergeKeepsGainsTest {
  private static final Logger LOG = LoggerFactory.getLogger(MergeKeepsGainsTest.class);
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final List<String> TASKS = List.of("label", "client_id");
  private static final int TRAINED = Integer.getInteger("gains.train", 900);
  private static final int VALIDATED = 80;

  @TempDir static Path folder;
  private static SparkSession spark;
  private static final List<Path> EXPERTS = new ArrayList<>();
  private static final double[] UNTUNED = new double[2];
  private static final double[] TUNED = new double[2];

  @BeforeAll
  static void trainExperts() throws IOException {
    spark =
        SparkSession.builder()
            .master("local[2]")
            .config("spark.ui.enabled", false)
            .config("spark.sql.shuffle.partitions", 2)
            .getOrCreate();
    List<String> train = rows("train");
    write("train", train.subList(0, TRAINED));
    write("validation", train.subList(TRAINED, TRAINED + VALIDATED));
    write("test", rows("test").subList(0, 300));
    for (String task : TASKS) {
      long begin = System.nanoTime();
      Path recipe = folder.resolve(task + ".yaml");
      Files.writeString(
          recipe,
          """
          run:      {name: %1$s, seed: 7, dir: run-%1$s}
          model:    {path: "bundled:all-MiniLM-L6-v2", max_length: 64}
          data:     {train: train.jsonl, test: test.jsonl, label: %1$s}
          clients:  {partition: iid, count: 2}
          peft:     {peft_type: LORA, r: 8, lora_alpha: 16, target_modules: [query, value], modules_to_save: [classifier]}
          train:    {local_epochs: 1, batch_size: 8, learning_rate: %2$s}
          rounds:   {count: %3$s}
          compress: {uplink: {codec: none}, downlink: {codec: none}}
          evaluate: {every: 0}
          """
              .formatted(
                  task,
                  System.getProperty("gains.lr", "3.0e-3"),
                  System.getProperty("gains.rounds", "3")));
      JobMain.main(new String[] {"train", "-c", recipe.toString()});
      EXPERTS.add(folder.resolve("run-" + task).resolve("adapter"));
      LOG.info("{} trained in {} s", task, (System.nanoTime() - begin) / 1e9);
    }
    Path untuned = folder.resolve("untuned");
    new AdapterMerge("cat", 1, 0, 0).merge(EXPERTS, List.of(0.0, 0.0), untuned, Heads.DROP, false);
    for (int t = 0; t < 2; t++) {
      UNTUNED[t] = accuracy(untuned, t);
      TUNED[t] = accuracy(EXPERTS.get(t), t);
      LOG.info("{}: untuned {}, expert {}", TASKS.get(t), UNTUNED[t], TUNED[t]);
    }
  }

  private static List<String> rows(String name) throws IOException {
    try (InputStream in =
        FederatedData.class.getResourceAsStream("/bundled/support-requests/" + name + ".jsonl")) {
      assertThat(in).isNotNull();
      return new String(in.readAllBytes(), StandardCharsets.UTF_8).lines().toList();
    }
  }

  private static void write(String name, List<String> rows) throws IOException {
    Files.write(folder.resolve(name + ".jsonl"), rows);
  }

  @AfterAll
  static void stop() {
    spark.stop();
  }

  /** Test accuracy of a LoRA under the head of a task's expert. */
  private static double accuracy(Path lora, int task) throws IOException {
    AdapterDirectory adapter = AdapterDirectory.read(lora);
    Path complete = folder.resolve("complete");
    var tensors = new java.util.TreeMap<>(adapter.tensors());
    tensors.keySet().removeIf(name -> !name.contains(".lora_"));
    AdapterDirectory expert = AdapterDirectory.read(EXPERTS.get(task));
    expert
        .tensors()
        .forEach(
            (name, tensor) -> {
              if (!name.contains(".lora_")) {
                tensors.put(name, tensor);
              }
            });
    ObjectNode config = adapter.config();
    config.set("modules_to_save", expert.config().path("modules_to_save"));
    AdapterDirectory.write(complete, config, tensors);
    TunedAdapter known = TunedAdapter.read(EXPERTS.get(task));
    TunedAdapter tuned =
        TunedAdapter.read(
            complete, Optional.of(known.runtime().model()), Optional.of(known.runtime().task()));
    try (ExampleShards shards =
        FederatedData.testShards(
            spark.read().json(folder.resolve("test.jsonl").toString()),
            "text",
            "",
            TASKS.get(task),
            tuned.runtime())) {
      return EvaluationJob.run(
              JavaSparkContext.fromSparkContext(spark.sparkContext()),
              shards,
              tuned.runtime(),
              tuned.parameters())
          .values()
          .stream()
          .reduce(Evaluation::merge)
          .orElseThrow()
          .accuracy();
    }
  }

  private static SearchConfig onValidation(List<Double> lambdas) {
    SearchConfig d = SearchConfig.defaults("ties_svd");
    List<SearchTask> tasks = new ArrayList<>();
    for (int t = 0; t < 2; t++) {
      SearchTask task = SearchTask.defaults();
      tasks.add(
          new SearchTask(
              folder.resolve("validation.jsonl").toString(),
              "json",
              task.options(),
              "text",
              "",
              TASKS.get(t),
              EXPERTS.get(t).toString(),
              List.of(),
              task.task(),
              task.pooling(),
              task.maxLength()));
    }
    return new SearchConfig(
        "grid",
        List.of("lambda"),
        "accuracy",
        40,
        0,
        0,
        "",
        d.weights(),
        d.density(),
        d.lambda().withValues(lambdas),
        tasks);
  }

  @ParameterizedTest
  @CsvSource({
    "svd, 1",
    "ties_svd, 0.3",
    "dare_linear_svd, 0.5",
    "breadcrumbs_svd, 0.5",
    "pcb_svd, 0.3",
    "knots, 0.5"
  })
  void mergesKeepWhatExpertsGained(String method, double density) throws IOException {
    AdapterMerge how = new AdapterMerge(method, density, 16, 7);
    double[] plain = merged(how, EXPERTS, "plain");
    List<Path> small = new ArrayList<>();
    for (Path expert : EXPERTS) {
      Path file = folder.resolve("small.spta");
      Path again = folder.resolve("again-" + small.size());
      AdapterFile.compress(
              expert, Optional.empty(), Pipeline.parse("topk(0.1)|ternary(mean)"), file)
          .decompress(again, Optional.empty());
      small.add(again);
    }
    double[] compressed = merged(how, small, "compressed");
    assertThat(compressed).hasSize(plain.length);
  }

  private double[] merged(AdapterMerge how, List<Path> adapters, String what) throws IOException {
    long begin = System.nanoTime();
    MergeSearch.Found found =
        new MergeSearch(
                AdapterSet.read(adapters, false),
                adapters.get(0),
                how,
                Heads.DROP,
                List.of(1.0, 1.0))
            .run(spark, onValidation(List.of(0.6, 1.0, 1.4, 2.0)));
    long searched = System.nanoTime();
    Path out = folder.resolve("merged");
    found.how().merge(adapters, found.weights(), out, Heads.DROP, false);
    double[] accuracies = {accuracy(out, 0), accuracy(out, 1)};
    double kept = 0;
    for (int t = 0; t < 2; t++) {
      kept += (accuracies[t] - UNTUNED[t]) / (TUNED[t] - UNTUNED[t]) / 2;
    }
    LOG.info(
        String.format(
            Locale.ROOT,
            "RESULT %s %s lambda %.1f validation %.4f test %.4f %.4f kept %.3f search %.1f s",
            how.type(),
            what,
            found.how().lambda(),
            found.score(),
            accuracies[0],
            accuracies[1],
            kept,
            (searched - begin) / 1e9));
    return accuracies;
  }

  @Test
  void nothing() {
    assertThat(JSON).isNotNull();
  }
}
