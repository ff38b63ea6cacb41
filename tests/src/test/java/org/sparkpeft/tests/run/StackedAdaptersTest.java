package org.sparkpeft.tests.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.train.Evaluation;
import org.sparkpeft.federated.cli.JobMain;
import org.sparkpeft.federated.client.EvaluationJob;
import org.sparkpeft.federated.client.ExampleShards;
import org.sparkpeft.federated.client.FederatedData;
import org.sparkpeft.federated.client.PredictionJob;
import org.sparkpeft.federated.client.StackedAdapters;
import org.sparkpeft.federated.client.TunedAdapter;
import org.sparkpeft.tests.support.TinyBert;

/** Several trained adapters used together, from the command line and as Spark jobs. */
class StackedAdaptersTest {
  @TempDir static Path folder;
  private static SparkSession spark;
  private static TunedAdapter lora;
  private static TunedAdapter ia3;

  @BeforeAll
  static void train() throws IOException {
    spark =
        SparkSession.builder().master("local[2]").config("spark.ui.enabled", false).getOrCreate();
    TinyBert.write(folder.resolve("model"));
    TinyBert.writeRequests(folder.resolve("train.jsonl"), 60, 2, 1);
    TinyBert.writeRequests(folder.resolve("test.jsonl"), 30, 2, 2);
    Files.writeString(
        folder.resolve("recipe.yaml"),
        """
        run:      {name: stacked, seed: 3}
        model:    {path: model, max_length: 16}
        data:     {train: train.jsonl, test: test.jsonl}
        clients:  {partition: iid, count: 2}
        train:    {local_epochs: 3, batch_size: 8, learning_rate: 2.0e-2}
        rounds:   {count: 2}
        """,
        StandardCharsets.UTF_8);
    lora = trained("LORA");
    ia3 = trained("IA3");
  }

  @AfterAll
  static void stop() {
    spark.stop();
  }

  private static TunedAdapter trained(String type) {
    Path dir = folder.resolve(type);
    JobMain.main(
        new String[] {
          "train",
          "-c",
          folder.resolve("recipe.yaml").toString(),
          "--json",
          "--set",
          "run.dir=" + dir,
          "--set",
          "peft.peft_type=" + type
        });
    return TunedAdapter.read(dir.resolve("adapter"));
  }

  private static StackedAdapters stacked(float weight, String head) {
    return StackedAdapters.of(
        List.of(
            new StackedAdapters.Named("lora", lora, 1),
            new StackedAdapters.Named("ia3", ia3, weight)),
        head.isEmpty() ? Optional.empty() : Optional.of(head));
  }

  private static List<String> texts(Dataset<Row> rows) {
    return rows.collectAsList().stream().map(row -> row.<String>getAs("text")).toList();
  }

  @Test
  void executorsComputeWhatTheDriverDoes() {
    StackedAdapters both = stacked(0.5f, "lora");
    Dataset<Row> rows = spark.read().json(folder.resolve("test.jsonl").toString()).repartition(3);
    List<Row> answered = PredictionJob.withLogits(rows, "text", both, "logits").collectAsList();
    float[][] here =
        PredictionJob.logits(
            answered.stream().map(row -> row.<String>getAs("text")).toList(), both);
    assertThat(answered).hasSize(30);
    for (int i = 0; i < here.length; i++) {
      List<Double> there = answered.get(i).getList(answered.get(i).fieldIndex("logits"));
      for (int c = 0; c < here[i].length; c++) {
        // Texts are batched by length, and other batches round in another order.
        assertThat(there.get(c)).isCloseTo(here[i][c], org.assertj.core.data.Offset.offset(1e-5));
      }
    }
    float[][] alone =
        PredictionJob.logits(texts(rows), StackedAdapters.of(lora.runtime(), lora.parameters()));
    assertThat(PredictionJob.logits(texts(rows), stacked(0, ""))).isDeepEqualTo(alone);
    assertThat(PredictionJob.logits(texts(rows), both)[0]).isNotEqualTo(alone[0]);
  }

  @Test
  void evaluationIsThatOfTheStack() {
    Dataset<Row> rows = spark.read().json(folder.resolve("test.jsonl").toString());
    try (ExampleShards shards =
        FederatedData.testShards(rows, "text", "", "label", lora.runtime())) {
      Evaluation loraAlone =
          whole(EvaluationJob.run(shards, StackedAdapters.of(lora.runtime(), lora.parameters())));
      assertThat(loraAlone.metrics())
          .isEqualTo(
              whole(
                      EvaluationJob.run(
                          new org.apache.spark.api.java.JavaSparkContext(spark.sparkContext()),
                          shards,
                          lora.runtime(),
                          lora.parameters()))
                  .metrics());
      assertThat(whole(EvaluationJob.run(shards, stacked(0, ""))).metrics())
          .isEqualTo(loraAlone.metrics());
      assertThat(whole(EvaluationJob.run(shards, stacked(0.5f, "lora"))).metrics().get("loss"))
          .isNotEqualTo(loraAlone.metrics().get("loss"));
    }
  }

  private static Evaluation whole(java.util.SortedMap<String, Evaluation> parts) {
    return parts.values().stream().reduce(Evaluation::merge).orElseThrow();
  }

  @Test
  void namesOfTasksAreThoseOfTheAdaptersThatHaveSome() {
    assertThat(stackOf(List.of(), List.of("a", "b")).runtime().tasks()).containsExactly("a", "b");
    assertThat(stackOf(List.of("a", "b"), List.of("a", "b")).runtime().tasks()).hasSize(2);
    assertThatThrownBy(() -> stackOf(List.of("a", "b"), List.of("b", "a")))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("other tasks (data.task): [[a, b], [b, a]]");
  }

  private static StackedAdapters stackOf(List<String> loraTasks, List<String> ia3Tasks) {
    return StackedAdapters.of(
        List.of(
            new StackedAdapters.Named("lora", with(lora, loraTasks), 1),
            new StackedAdapters.Named("ia3", with(ia3, ia3Tasks), 1)),
        Optional.of("lora"));
  }

  private static TunedAdapter with(TunedAdapter adapter, List<String> tasks) {
    return new TunedAdapter(adapter.runtime().withTasks(tasks), adapter.parameters());
  }

  @Test
  void theCommandLineTakesThem() {
    List<String> args =
        List.of(
            "predict",
            "--adapter",
            "lora=" + folder.resolve("LORA/adapter"),
            "--adapter",
            "ia3=" + folder.resolve("IA3/adapter") + ":0.5",
            "--model",
            folder.resolve("model").toString(),
            "--data",
            folder.resolve("test.jsonl").toString(),
            "--out",
            folder.resolve("out").toString());
    assertThatThrownBy(() -> JobMain.main(args.toArray(String[]::new)))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("lora and ia3 both have their own classifier")
        .hasMessageContaining("--head");
    List<String> more = new ArrayList<>(args);
    more.addAll(List.of("--head", "ia3"));
    JobMain.main(more.toArray(String[]::new));

    List<Row> written = spark.read().json(folder.resolve("out").toString()).collectAsList();
    float[][] logits =
        PredictionJob.logits(
            written.stream().map(row -> row.<String>getAs("text")).toList(), stacked(0.5f, "ia3"));
    List<String> labels = lora.runtime().task().labels();
    for (int i = 0; i < logits.length; i++) {
      int best = 0;
      for (int c = 1; c < logits[i].length; c++) {
        best = logits[i][c] > logits[i][best] ? c : best;
      }
      assertThat(written.get(i).<String>getAs("prediction")).isEqualTo(labels.get(best));
    }
  }
}
