package org.sparkpeft.tests.ml;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.spark.ml.Pipeline;
import org.apache.spark.ml.PipelineModel;
import org.apache.spark.ml.PipelineStage;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.functions;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.federated.cli.JobMain;
import org.sparkpeft.federated.client.ExecutorRuntime;
import org.sparkpeft.federated.client.RuntimeSpec;
import org.sparkpeft.federated.client.TextGeneration;
import org.sparkpeft.federated.client.TunedAdapter;
import org.sparkpeft.federated.ml.PeftTextGenerator;
import org.sparkpeft.tests.support.Project;
import org.sparkpeft.tests.support.Said;

/** A language model as a stage of Spark ML, and over files from the command line. */
class PeftTextGeneratorTest {
  private static final List<String> TEXTS =
      List.of("Once upon a time", "The cat", "Lily and Tom went to", "It was a", "One day");

  @TempDir Path folder;
  private static SparkSession spark;

  @BeforeAll
  static void start() {
    spark =
        SparkSession.builder()
            .master("local[2]")
            .config("spark.ui.enabled", false)
            .config("spark.sql.shuffle.partitions", 2)
            .getOrCreate();
  }

  @AfterAll
  static void stop() {
    spark.stop();
  }

  private static String model() {
    return Project.shared("models/stories260K").toString();
  }

  private static Dataset<Row> prompts(int partitions) {
    return spark.createDataset(TEXTS, Encoders.STRING()).toDF("text").repartition(partitions);
  }

  private static PeftTextGenerator generator() {
    return new PeftTextGenerator().setModel(model()).setGeneration(Map.of("max_new_tokens", 8));
  }

  private static Map<String, List<String>> found(Dataset<Row> rows) {
    Map<String, List<String>> found = new TreeMap<>();
    for (Row row : rows.collectAsList()) {
      found.put(row.getString(0), row.getList(1));
    }
    return found;
  }

  @Test
  void continuesEachRowAsOneProcessWould() {
    Map<String, List<String>> found = found(generator().transform(prompts(2)));
    List<List<String>> here =
        TextGeneration.of(model(), 512).continuations(TEXTS, Map.of("max_new_tokens", 8));
    assertThat(found).hasSize(TEXTS.size());
    for (int i = 0; i < TEXTS.size(); i++) {
      assertThat(found.get(TEXTS.get(i))).isEqualTo(here.get(i));
    }
  }

  @Test
  void whatIsDrawnDependsOnTheSeedAndNotOnPartitions() {
    Map<String, Object> settings =
        Map.of("max_new_tokens", 8, "do_sample", true, "num_return_sequences", 2, "seed", 5);
    PeftTextGenerator generator = generator().setGeneration(settings);
    Map<String, List<String>> found = found(generator.transform(prompts(1)));
    assertThat(found(generator.transform(prompts(3)))).isEqualTo(found);
    assertThat(found.get("One day")).hasSize(2);
    Map<String, Object> other = new TreeMap<>(settings);
    other.put("seed", 6);
    assertThat(found(generator.setGeneration(other).transform(prompts(1)))).isNotEqualTo(found);
  }

  @Test
  void isSavedInAPipeline() throws IOException {
    PipelineModel pipeline =
        new Pipeline()
            .setStages(new PipelineStage[] {generator().setOutputCol("answer")})
            .fit(prompts(1));
    pipeline.write().save(folder.resolve("pipeline").toString());
    PipelineModel read = PipelineModel.load(folder.resolve("pipeline").toString());
    assertThat(found(read.transform(prompts(2)))).isEqualTo(found(pipeline.transform(prompts(1))));
    assertThat(read.transform(prompts(1)).columns()).containsExactly("text", "answer");
  }

  @Test
  void aRowWithoutATextStaysWithoutOne() {
    Dataset<Row> rows =
        prompts(1)
            .withColumn(
                "text",
                functions.when(functions.col("text").notEqual("The cat"), functions.col("text")));
    List<Row> found = generator().transform(rows).collectAsList();
    assertThat(found).hasSize(TEXTS.size());
    assertThat(found)
        .filteredOn(row -> row.isNullAt(0))
        .allMatch(row -> row.isNullAt(1))
        .hasSize(1);
  }

  @Test
  void textsAreContinuedByTheirTask() throws IOException {
    Path adapter = folder.resolve("adapter");
    TunedAdapter tuned = adapterOfTwoTasks();
    TunedAdapter.write(adapter, tuned.runtime(), tuned.parameters());
    Map<String, Object> settings = Map.of("max_new_tokens", 8);
    Dataset<Row> rows =
        prompts(1)
            .withColumn("mood", functions.expr("if(length(text) % 2 = 0, 'calm', 'wild')"))
            .repartition(2);
    PeftTextGenerator generator = generator().setAdapter(adapter.toString());
    String out = folder.resolve("by-task").toString();
    rows.coalesce(1).write().json(folder.resolve("rows").toString());
    JobMain.main(
        new String[] {
          "generate",
          "--model",
          model(),
          "--adapter",
          adapter.toString(),
          "--data",
          folder.resolve("rows").toString(),
          "--task-column",
          "mood",
          "--out",
          out,
          "--generation",
          "max_new_tokens=8"
        });
    Map<String, List<String>> told = found(spark.read().json(out).select("text", "generated"));
    Map<String, List<String>> found =
        found(generator.setTaskCol("mood").transform(rows).select("text", "generated"));
    TextGeneration here = TextGeneration.of(tuned);
    for (String text : TEXTS) {
      String task = text.length() % 2 == 0 ? "calm" : "wild";
      String other = task.equals("calm") ? "wild" : "calm";
      List<String> expected = here.ofTask(task).continuations(List.of(text), settings).get(0);
      assertThat(found.get(text)).isEqualTo(expected);
      assertThat(told.get(text)).isEqualTo(expected);
      assertThat(here.ofTask(other).continuations(List.of(text), settings).get(0))
          .isNotEqualTo(expected);
    }
    assertThat(
            Said.json(
                    "generate",
                    "--model",
                    model(),
                    "--adapter",
                    adapter.toString(),
                    "--text",
                    TEXTS.get(0),
                    "--task-name",
                    "wild",
                    "--generation",
                    "max_new_tokens=8")
                .at("/generated/0/generated/0")
                .asText())
        .isEqualTo(here.ofTask("wild").continuations(TEXTS, settings).get(0).get(0));
    assertThat(exactMatch(adapter, out, "--task-column", "mood"))
        .as("compared with what each task says")
        .isEqualTo(1);
    assertThat(exactMatch(adapter, out)).as("all of the first task").isLessThan(1);
    Files.delete(adapter.resolve("spark_peft.json"));
    assertThat(
            TextGeneration.of(model(), adapter.toString(), 512)
                .ofTask("1")
                .continuations(TEXTS, settings))
        .as("an adapter from elsewhere numbers its tasks")
        .isEqualTo(here.ofTask("wild").continuations(TEXTS, settings));
    assertThatThrownBy(() -> here.ofTask("dull"))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("training had no task \"dull\"; it had calm, wild");
    assertThatThrownBy(() -> TextGeneration.of(model(), 512).ofTask("calm"))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("without names of tasks");
    assertThatThrownBy(() -> generator.setTaskCol("tone").transform(rows))
        .hasMessageContaining("taskCol: there is no column \"tone\"");
  }

  /** Of what the adapter says with what was generated before. */
  private double exactMatch(Path adapter, String generated, String... more) throws IOException {
    Path said = Files.createTempDirectory(folder, "said").resolve("rows");
    spark
        .read()
        .json(generated)
        .withColumn("generated", functions.col("generated").getItem(0))
        .write()
        .json(said.toString());
    List<String> command =
        new ArrayList<>(List.of("evaluate", "--adapter", adapter.toString(), "--model", model()));
    command.addAll(List.of("--data", said.toString(), "--text", "text"));
    command.addAll(List.of("--text-pair", "generated", "--metrics", "exact_match"));
    command.addAll(List.of("--generation", "max_new_tokens=8"));
    command.addAll(List.of(more));
    return Said.json(command.toArray(String[]::new)).get("exact_match").doubleValue();
  }

  private static TunedAdapter adapterOfTwoTasks() {
    Map<String, Object> fields =
        new TreeMap<>(PeftMethods.writeConfig(PeftMethods.named("MTLORA").defaults()));
    fields.put("target_modules", List.of("q_proj", "v_proj", "down_proj"));
    fields.put("modules_to_save", List.of());
    RuntimeSpec runtime =
        new RuntimeSpec(
                model(), TextGeneration.task(model(), 512), PeftMethods.readConfig(fields), 1)
            .withTasks(List.of("calm", "wild"));
    TunableModel model = ExecutorRuntime.of(runtime).model();
    float[] values = Philox.of(1, "tasks").gaussian(model.layout().size(), 0.2);
    return new TunedAdapter(runtime, ParameterVector.wrap(model.layout(), values));
  }

  @Test
  void mistakesAreFoundBeforeAnythingRuns() {
    model(); // skips where it is not
    assertThatThrownBy(() -> new PeftTextGenerator().transform(prompts(1)))
        .hasMessage("model: is not set; setModel(folder) says which");
    assertThatThrownBy(() -> generator().setInputCol("prompt").transform(prompts(1)))
        .hasMessageContaining("inputCol: there is no column \"prompt\"; the data has text");
    assertThatThrownBy(() -> generator().setOutputCol("text").transform(prompts(1)))
        .hasMessageContaining("exists already");
    assertThatThrownBy(
            () -> generator().setGeneration(Map.of("temprature", 1)).transform(prompts(1)))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("temprature");
    assertThatThrownBy(() -> generator().transform(prompts(1).withColumn("text", functions.lit(3))))
        .hasMessageContaining("must hold strings, it holds int");
  }

  @Test
  void continuesFilesFromTheCommandLine() throws IOException {
    Path data = folder.resolve("prompts.jsonl");
    Files.writeString(data, "{\"ask\": \"Once upon a time\"}\n{\"ask\": \"The cat\"}\n");
    String out = folder.resolve("answers").toString();
    JobMain.main(
        new String[] {
          "generate",
          "--model",
          model(),
          "--data",
          data.toString(),
          "--text-column",
          "ask",
          "--out",
          out,
          "--generation",
          "max_new_tokens=8"
        });
    Map<String, List<String>> found = found(spark.read().json(out).select("ask", "generated"));
    assertThat(found)
        .containsOnlyKeys("Once upon a time", "The cat")
        .containsEntry(
            "The cat",
            TextGeneration.of(model(), 512)
                .continuations(List.of("The cat"), Map.of("max_new_tokens", 8))
                .get(0));
  }
}
