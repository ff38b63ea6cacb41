package org.sparkpeft.tests.ml;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.apache.spark.ml.Pipeline;
import org.apache.spark.ml.PipelineModel;
import org.apache.spark.ml.PipelineStage;
import org.apache.spark.ml.evaluation.MulticlassClassificationEvaluator;
import org.apache.spark.ml.feature.StringIndexer;
import org.apache.spark.ml.linalg.Vector;
import org.apache.spark.ml.param.Param;
import org.apache.spark.ml.param.ParamMap;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.functions;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.federated.ml.PeftTextClassifier;
import org.sparkpeft.federated.ml.PeftTextClassifierModel;
import org.sparkpeft.tests.support.SparkPeftProcess;
import org.sparkpeft.tests.support.TinyBert;

/** The Spark ML stage in a pipeline: fit, transform, evaluate, save, load elsewhere. */
class PeftTextClassifierTest {
  @TempDir static Path folder;
  private static SparkSession spark;
  private static Dataset<Row> train;
  private static Dataset<Row> test;
  private static PipelineModel fitted;

  @BeforeAll
  static void fit() {
    spark = session();
    TinyBert.write(folder.resolve("model"));
    TinyBert.writeRequests(folder.resolve("train.jsonl"), 300, 3, 1);
    TinyBert.writeRequests(folder.resolve("test.jsonl"), 60, 3, 2);
    train = spark.read().json(folder.resolve("train.jsonl").toString());
    test = spark.read().json(folder.resolve("test.jsonl").toString());
    Pipeline pipeline =
        new Pipeline()
            .setStages(
                new PipelineStage[] {
                  new StringIndexer().setInputCol("label").setOutputCol("class"),
                  classifier().setClientCol("client")
                });
    fitted = pipeline.fit(train);
  }

  @AfterAll
  static void stop() {
    spark.stop();
  }

  private static SparkSession session() {
    return SparkSession.builder()
        .master("local[2]")
        .config("spark.ui.enabled", false)
        .config("spark.sql.shuffle.partitions", 2)
        .getOrCreate();
  }

  private static PeftTextClassifier classifier() {
    return new PeftTextClassifier("classifier")
        .setLabelCol("class")
        .setModelPath(folder.resolve("model").toString())
        .setMaxLength(16)
        .setR(4)
        .setNumRounds(15)
        .setLocalEpochs(3)
        .setLearningRate(0.02)
        .setDensity(0.5)
        .setSeed(5)
        .setRecipe("{model: {pooling: mean}, train: {batch_size: 16}}");
  }

  private static PeftTextClassifierModel model() {
    return (PeftTextClassifierModel) fitted.stages()[1];
  }

  @Test
  void predictsWhatMlLibEvaluates() {
    Dataset<Row> predicted = fitted.transform(test);
    assertThat(predicted.columns())
        .containsExactly(
            "client", "label", "text", "class", "rawPrediction", "probability", "prediction");
    for (Row row : predicted.collectAsList()) {
      Vector probability = row.getAs("probability");
      Vector raw = row.getAs("rawPrediction");
      double sum = 0;
      for (double p : probability.toArray()) {
        sum += p;
      }
      assertThat(sum).isBetween(1 - 1e-9, 1 + 1e-9);
      assertThat(row.<Double>getAs("prediction"))
          .isEqualTo(probability.argmax())
          .isEqualTo(raw.argmax());
    }
    double accuracy =
        new MulticlassClassificationEvaluator()
            .setLabelCol("class")
            .setMetricName("accuracy")
            .evaluate(predicted);
    double commonest =
        test.groupBy("label").count().agg(functions.max("count")).first().getLong(0)
            / (double) test.count();
    assertThat(accuracy).isGreaterThan(commonest + 0.2);
    double loss =
        new MulticlassClassificationEvaluator()
            .setLabelCol("class")
            .setMetricName("logLoss")
            .evaluate(predicted);
    assertThat(loss).isLessThan(Math.log(3)); // that of a guess
  }

  /** What {@link Elsewhere} writes: a line a row. */
  private static List<String> lines(PipelineModel model, Dataset<Row> rows) {
    return model.transform(rows).select("text", "probability").collectAsList().stream()
        .map(Row::toString)
        .sorted()
        .toList();
  }

  /** A process that knows nothing but the saved stage. */
  static final class Elsewhere {
    private Elsewhere() {}

    public static void main(String[] args) throws IOException {
      SparkSession other = session();
      List<String> lines = lines(PipelineModel.load(args[0]), other.read().json(args[1]));
      other.stop();
      Files.write(Path.of(args[2]), lines);
    }
  }

  @Test
  void aFreshProcessLoadsTheSameBits() throws IOException {
    Path saved = folder.resolve("saved");
    fitted.write().overwrite().save(saved.toString());
    Path written = folder.resolve("elsewhere.txt");
    try (SparkPeftProcess process =
        SparkPeftProcess.startMain(
            folder.resolve("scratch"),
            Elsewhere.class,
            saved.toString(),
            folder.resolve("test.jsonl").toString(),
            written.toString())) {
      assertThat(process.await()).as(process.errors()).isZero();
    }
    assertThat(Files.readAllLines(written)).isEqualTo(lines(fitted, test)).hasSize(60);
  }

  @Test
  void theSavedStageHoldsAPeftFolder() throws IOException {
    Path saved = folder.resolve("stage");
    model().write().overwrite().save(saved.toString());
    AdapterDirectory adapter = AdapterDirectory.read(saved.resolve("adapter"));
    assertThat(adapter.config().get("peft_type").asText()).isEqualTo("LORA");
    assertThat(adapter.config().get("r").asInt()).isEqualTo(4);
    assertThat(adapter.tensors().keySet())
        .anyMatch(name -> name.endsWith("layer.0.attention.self.query.lora_A.weight"))
        .contains("base_model.model.classifier.weight");
    assertThatThrownBy(() -> model().write().save(saved.toString()))
        .isInstanceOf(IOException.class)
        .hasMessageContaining("overwrite");
  }

  @Test
  void theEstimatorIsSavedWithItsParameters() throws IOException {
    PeftTextClassifier estimator =
        classifier().setClientCol("client").setTargetModules(new String[] {"query"});
    Path saved = folder.resolve("estimator");
    estimator.write().overwrite().save(saved.toString());
    PeftTextClassifier loaded = PeftTextClassifier.load(saved.toString());
    assertThat(loaded.uid()).isEqualTo("classifier");
    for (Param<?> param : estimator.params()) {
      Param<Object> same = loaded.getParam(param.name());
      assertThat(loaded.isSet(same)).as(param.name()).isEqualTo(estimator.isSet(param));
      if (estimator.isSet(param)) {
        assertThat(loaded.getOrDefault(same)).isEqualTo(estimator.getOrDefault(param));
      }
    }
    assertThat(loaded.getOrDefault(loaded.targetModules())).containsExactly("query");
  }

  @Test
  void copiesDoNotShareParameters() {
    PeftTextClassifier estimator = classifier();
    PeftTextClassifier copy = estimator.copy(ParamMap.empty().put(estimator.r(), 7));
    assertThat(copy.getOrDefault(copy.r())).isEqualTo(7);
    assertThat(estimator.getOrDefault(estimator.r())).isEqualTo(4);
    PeftTextClassifierModel model = model();
    PeftTextClassifierModel renamed =
        model.copy(ParamMap.empty().put(model.predictionCol(), "guess"));
    assertThat(renamed.transform(test).columns()).contains("guess").doesNotContain("prediction");
    assertThat(model.getOrDefault(model.predictionCol())).isEqualTo("prediction");
    assertThat(renamed.parent()).isEqualTo(model.parent());
  }

  @Test
  void withoutAClientColumnRowsAreDealtOut() {
    Dataset<Row> indexed =
        new StringIndexer().setInputCol("label").setOutputCol("class").fit(train).transform(train);
    PeftTextClassifierModel model =
        classifier().setNumClients(4).setNumRounds(1).fit(indexed.drop("client"));
    assertThat(model.numClasses()).isEqualTo(3);
    assertThat(model.transform(test).filter("prediction >= 0 and prediction < 3").count())
        .isEqualTo(60);
  }

  @Test
  void rowsMeetTheWeightsOfTheirTask() throws IOException {
    Dataset<Row> indexed = fitted.stages()[0].transform(train);
    PeftTextClassifierModel model =
        classifier()
            .setClientCol("client")
            .setTaskCol("client")
            .setNumRounds(1)
            .setRecipe("{peft: {peft_type: MTLORA, tasks: 3}, train: {batch_size: 16}}")
            .fit(indexed);
    Path saved = folder.resolve("tasks");
    model.write().save(saved.toString());
    PeftTextClassifierModel read = PeftTextClassifierModel.load(saved.toString());
    Dataset<Row> text = test.limit(1);
    List<Vector> raw = new ArrayList<>();
    for (String task : List.of("shop-0", "shop-1", "shop-2")) {
      Dataset<Row> row = text.withColumn("client", functions.lit(task));
      raw.add(model.transform(row).first().getAs("rawPrediction"));
      assertThat(read.transform(row).first().<Vector>getAs("rawPrediction"))
          .isEqualTo(raw.get(raw.size() - 1));
    }
    assertThat(raw).doesNotHaveDuplicates();
    assertThatThrownBy(() -> read.transform(text.drop("client")))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("taskCol: there is no column \"client\"");
    assertThatThrownBy(
            () ->
                read.transform(text.withColumn("client", functions.lit("shop-9"))).collectAsList())
        .hasStackTraceContaining("training had no task \"shop-9\"; it had shop-0, shop-1, shop-2");
  }

  @Test
  void wrongColumnsAndSettingsAreNamed() {
    Dataset<Row> indexed = fitted.stages()[0].transform(train);
    assertThatThrownBy(() -> classifier().setLabelCol("label").fit(indexed))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("StringIndexer");
    assertThatThrownBy(() -> classifier().setClientCol("nobody").fit(indexed))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("nobody")
        .hasMessageContaining("client, label, text, class");
    assertThatThrownBy(() -> model().setTextCol("class").transform(indexed))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("strings");
    model().setTextCol("text");
    assertThatThrownBy(() -> classifier().setRecipe("rounds: {cuont: 3}").fit(indexed))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("cuont");
    assertThatThrownBy(() -> model().transform(fitted.transform(test)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("exists already");
  }
}
