package org.sparkpeft.tests.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.zip.GZIPInputStream;
import org.apache.spark.sql.SparkSession;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.federated.cli.JobMain;
import org.sparkpeft.tests.support.Project;
import org.sparkpeft.tests.support.Said;
import org.sparkpeft.tests.support.TinyBert;

/** A Llama that learns which answers people prefer, from questions that stay with their owners. */
class PreferenceRunTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final double LOG_TWO = Math.log(2);

  private static SparkSession spark;
  @TempDir Path folder;

  @BeforeAll
  static void open() {
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

  /** Pairs of TruthfulQA; for kto, one of each pair's answers with its label. */
  @BeforeEach
  void write() throws IOException {
    rows("train", 96);
    rows("test", 40);
    Files.writeString(
        folder.resolve("recipe.yaml"),
        """
        run:      {name: preferences, dir: run, seed: 7}
        model:    {path: "%s", task: dpo, max_length: 160}
        data:     {train: train.jsonl, test: test.jsonl, text: prompt, text_pair: chosen,
                   rejected: rejected}
        clients:  {partition: iid, count: 2}
        peft:     {peft_type: LORA, r: 4, lora_alpha: 8, target_modules: all-linear}
        train:    {local_epochs: 1, batch_size: 8, learning_rate: 3.0e-3}
        rounds:   {count: 2}
        compress: {uplink: {codec: none}, downlink: {codec: none}}
        evaluate: {metrics: [accuracy, reward_margin], references: [baseline]}
        spark:    {master: "local[2]"}
        """
            .formatted(Project.shared("models/stories260K")));
  }

  private void rows(String name, int count) throws IOException {
    Path file = Project.shared("data/truthfulqa-preferences/" + name + ".jsonl.gz");
    List<String> rows = new ArrayList<>();
    Set<String> prompts = new HashSet<>();
    try (InputStream in = new GZIPInputStream(Files.newInputStream(file))) {
      for (String line : new String(in.readAllBytes(), StandardCharsets.UTF_8).lines().toList()) {
        ObjectNode row = (ObjectNode) JSON.readTree(line);
        boolean isShort = row.toString().length() < 220;
        if (isShort && rows.size() < count && prompts.add(row.get("prompt").asText())) {
          boolean good = rows.size() % 2 == 0;
          row.put("completion", row.get(good ? "chosen" : "rejected").asText());
          row.put("label", good);
          rows.add(row.toString());
        }
      }
    }
    assertThat(rows).hasSize(count);
    Files.write(folder.resolve(name + ".jsonl"), rows);
  }

  private JsonNode train(String... settings) throws IOException {
    List<String> args =
        new ArrayList<>(List.of("train", "-c", folder.resolve("recipe.yaml").toString()));
    for (String setting : settings) {
      args.addAll(List.of("--set", setting));
    }
    JobMain.main(args.toArray(String[]::new));
    return JSON.readTree(folder.resolve("run/summary.json").toFile());
  }

  @Test
  void dpoEndsWithAnAdapterThatIsEvaluatedAgainAndGenerates() throws IOException {
    JsonNode summary = train("train.local_epochs=2");
    assertThat(summary.get("baseline.loss").doubleValue()).isEqualTo(LOG_TWO, within(1e-6));
    assertThat(summary.get("baseline.accuracy").doubleValue()).isEqualTo(0.5);
    assertThat(summary.get("final.reward_margin").doubleValue()).isNotZero();
    Path adapter = folder.resolve("run/adapter");
    JsonNode config = JSON.readTree(adapter.resolve("adapter_config.json").toFile());
    assertThat(config.get("task_type").asText()).isEqualTo("CAUSAL_LM");
    JsonNode kept = JSON.readTree(adapter.resolve("spark_peft.json").toFile());
    assertThat(kept.get("preference").get("beta").doubleValue()).isEqualTo(0.1);

    String run = folder.resolve("run").toString();
    JsonNode again = Said.json("evaluate", "--run", run);
    assertThat(again.get("accuracy").doubleValue())
        .isEqualTo(summary.get("final.accuracy").doubleValue(), within(0.02));
    assertThat(again.get("reward_margin").doubleValue())
        .isEqualTo(summary.get("final.reward_margin").doubleValue(), within(1e-3));
    JsonNode told =
        Said.json(
            "generate",
            "--run",
            run,
            "--text",
            "Why is the sky blue?",
            "--generation",
            "max_new_tokens=8");
    assertThat(told.get("generated").get(0).get("generated").get(0).asText()).isNotNull();
  }

  @ParameterizedTest
  @CsvSource({"ipo, rejected, chosen", "orpo, rejected, chosen", "kto, '', completion"})
  void otherLossesTrain(String task, String rejected, String completion) throws IOException {
    JsonNode summary =
        train(
            "model.task=" + task,
            "data.rejected=" + rejected,
            "data.text_pair=" + completion,
            "rounds.count=1");
    assertThat(summary.get("final.loss").doubleValue())
        .isNotEqualTo(summary.get("baseline.loss").doubleValue());
    assertThat(summary.get("final.accuracy").doubleValue()).isBetween(0.0, 1.0);
    assertThat(folder.resolve("run/adapter/adapter_model.safetensors")).exists();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "model.preference.beta=0 | model.preference.beta: must be above 0",
        "data.rejected= | data.rejected: model.task dpo needs the column of the rejected completion",
        "data.text_pair= | data.text_pair: model.task dpo needs the column of the completion",
        "model.task=text-generation | data.rejected: is for model.task dpo, ipo and orpo",
        "evaluate.references=[head_only] | evaluate.references: a language model has no head",
        "model.preference.loss_type=kto | model.preference.loss_type: task dpo has auto, sigmoid",
        "peft.lora_dropout=0.1 | lora_dropout: must be 0 for task dpo",
      })
  void settingsThatCannotWork(String setting, String message) {
    assertThatThrownBy(() -> train(setting))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining(message);
  }

  @Test
  void anEncoderIsRefused() throws IOException {
    TinyBert.write(folder.resolve("bert"));
    assertThatThrownBy(() -> train("model.path=bert", "model.max_length=16"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("dpo needs a decoder");
  }

  @ParameterizedTest
  @ValueSource(strings = {"chosen", "rejected"})
  void completionsThatAreEmptyAreRefused(String column) throws IOException {
    append(row -> row.put(column, "  "));
    assertThatThrownBy(this::train)
        .isInstanceOf(DataException.class)
        .hasMessageContaining("column \"" + column + "\" is empty in 1 of 97 rows");
  }

  @Test
  void aPairOfTheSameIsRefused() throws IOException {
    append(row -> row.set("rejected", row.get("chosen")));
    assertThatThrownBy(this::train)
        .isInstanceOf(DataException.class)
        .hasMessageContaining("\"chosen\" and \"rejected\" are the same")
        .hasMessageContaining("in 1 of 97 rows");
  }

  @Test
  void aMissingColumnIsNamed() {
    assertThatThrownBy(() -> train("data.rejected=worse"))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("data.rejected: there is no column \"worse\"");
  }

  @Test
  void aPromptThatFillsTheLengthIsRefusedUnlessItMayBeCut() throws IOException {
    append(row -> row.put("prompt", "word ".repeat(200)));
    assertThatThrownBy(this::train)
        .isInstanceOf(DataException.class)
        .hasMessageContaining("leaves no room for a completion in model.max_length, which is 160");
    assertThat(train("model.preference.max_prompt_length=100", "rounds.count=1")).isNotEmpty();
  }

  @Test
  void labelsOfKtoAreTrueOrFalse() throws IOException {
    append(row -> row.put("label", "good"));
    assertThatThrownBy(() -> train("model.task=kto", "data.rejected=", "data.text_pair=completion"))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("kto needs true (desirable) or false, got good");
  }

  private interface Change {
    void apply(ObjectNode row);
  }

  /** Adds a row like the first, changed. */
  private void append(Change change) throws IOException {
    Path file = folder.resolve("train.jsonl");
    List<String> rows = new ArrayList<>(Files.readAllLines(file));
    ObjectNode row = (ObjectNode) JSON.readTree(rows.get(0));
    change.apply(row);
    rows.add(row.toString());
    Files.write(file, rows);
  }
}
