package org.sparkpeft.tests.run;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.zip.GZIPInputStream;
import org.apache.spark.sql.SparkSession;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.text.TextTokenizer;
import org.sparkpeft.federated.cli.JobMain;
import org.sparkpeft.tests.support.Project;
import org.sparkpeft.tests.support.Said;

/** Instructions in the layouts that people have them in, on a real small Llama. */
class InstructionRunTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int ROWS = 24;

  @TempDir Path folder;

  private static String question(int i) {
    return "What comes after " + "ball ".repeat(1 + i % 5) + i + "?";
  }

  private static String answer(int i) {
    return "The girl says " + (i + 1) + ".";
  }

  private interface Rows {
    Map<String, Object> row(int i);
  }

  /** What a run leaves. */
  private record Run(JsonNode summary, Path folder) {
    String adapter() {
      return summary.get("adapter_sha256").asText();
    }

    double last(String metric) {
      return summary.get("final." + metric).doubleValue();
    }

    /** Tokens of the test rows that count. */
    long counted() throws IOException {
      for (String line : Files.readAllLines(folder.resolve("events.jsonl"))) {
        JsonNode event = JSON.readTree(line);
        if (event.path("what").asText().equals("final")) {
          return event.get("examples").longValue();
        }
      }
      throw new AssertionError("no final evaluation in " + folder);
    }

    double trainLoss() throws IOException {
      for (String line : Files.readAllLines(folder.resolve("events.jsonl"))) {
        JsonNode event = JSON.readTree(line);
        if (event.path("event").asText().equals("round_finished")) {
          return event.get("train_loss").doubleValue();
        }
      }
      throw new AssertionError("no round in " + folder);
    }
  }

  private void write(Rows rows) throws IOException {
    Files.deleteIfExists(folder.resolve("train.jsonl"));
    Files.deleteIfExists(folder.resolve("test.jsonl"));
    for (int i = 0; i < ROWS; i++) {
      Path file = folder.resolve(i % 3 == 0 ? "test.jsonl" : "train.jsonl");
      Files.writeString(
          file,
          JSON.writeValueAsString(rows.row(i)) + "\n",
          StandardOpenOption.CREATE,
          StandardOpenOption.APPEND);
    }
  }

  private Run train(String data, String... more) throws IOException {
    Path run = Files.createTempDirectory(folder, "run").resolve("out");
    Path recipe = folder.resolve("recipe.yaml");
    Files.writeString(
        recipe,
        """
        run:      {name: instructions, dir: "%s", seed: 7}
        model:    {path: "%s", task: text-generation, max_length: 256}
        data:     {%s}
        clients:  {partition: iid, count: 2}
        peft:     {peft_type: LORA, r: 4, lora_alpha: 8, target_modules: all-linear}
        train:    {local_epochs: 2, batch_size: 16, learning_rate: 3.0e-3}
        rounds:   {count: 1}
        compress: {uplink: {codec: none}, downlink: {codec: none}}
        evaluate: {metrics: [perplexity, rouge_l],
                   generate: {max_examples: 4, settings: {max_new_tokens: 8}}}
        spark:    {master: "local[2]"}
        """
            .formatted(run, Project.shared("models/stories260K"), data));
    List<String> command = new ArrayList<>(List.of("train", "-c", recipe.toString()));
    command.addAll(List.of(more));
    JobMain.main(command.toArray(String[]::new));
    return new Run(JSON.readTree(run.resolve("summary.json").toFile()), run);
  }

  /** Tokens of the replies of the test rows, and of the end after each. */
  private static long replies(int each) {
    ModelDirectory model = ModelDirectory.open(Project.shared("models/stories260K"));
    long tokens = 0;
    try (TextTokenizer tokenizer = TextTokenizer.open(model, 256)) {
      for (int i = 0; i < ROWS; i += 3) {
        tokens += each * (tokenizer.encodeContinuation(answer(i)).length + 1L);
      }
    }
    return tokens;
  }

  private static final String JSONL = "train: train.jsonl, test: test.jsonl, ";

  @Test
  void alpacaIsItsPublishedPromptAndItsOutput() throws IOException {
    write(
        i ->
            Map.of(
                "instruction",
                question(i),
                "input",
                i % 2 == 0 ? "" : "a b",
                "response",
                answer(i)));
    Run alpaca = train(JSONL + "formatting: alpaca, columns: {output: response}");
    write(i -> Map.of("p", alpacaPrompt(i), "c", answer(i)));
    Run same = train(JSONL + "formatting: prompt-completion, columns: {prompt: p, completion: c}");

    assertThat(alpaca.adapter()).isEqualTo(same.adapter());
    assertThat(alpaca.counted()).as("only outputs count").isEqualTo(replies(1));
    assertThat(alpaca.last("rouge_l")).isBetween(0.0, 1.0).isEqualTo(same.last("rouge_l"));
    assertThat(Said.json("evaluate", "--run", same.folder().toString()).get("rouge_l"))
        .as("evaluate reads the layout of the run")
        .isEqualTo(same.summary().get("final.rouge_l"));
  }

  private static String alpacaPrompt(int i) {
    return i % 2 == 0
        ? "Below is an instruction that describes a task. Write a response that appropriately"
            + " completes the request.\n\n### Instruction:\n"
            + question(i)
            + "\n\n### Response:"
        : "Below is an instruction that describes a task, paired with an input that provides"
            + " further context. Write a response that appropriately completes the request.\n\n"
            + "### Instruction:\n"
            + question(i)
            + "\n\n### Input:\na b\n\n### Response:";
  }

  private static List<Map<String, String>> turns(int i, String who, String what, String... roles) {
    return List.of(
        Map.of(who, roles[0], what, "Be brief."),
        Map.of(who, roles[1], what, question(i)),
        Map.of(who, roles[2], what, answer(i)),
        Map.of(who, roles[1], what, "Again?"),
        Map.of(who, roles[2], what, answer(i)));
  }

  @Test
  void bothLayoutsOfConversationsAreTheSame() throws IOException {
    write(i -> Map.of("messages", turns(i, "role", "content", "system", "user", "assistant")));
    Run messages = train(JSONL + "formatting: messages");
    assertThat(messages.counted()).as("all replies count").isEqualTo(replies(2));
    Run all = train(JSONL + "formatting: messages, train_on_prompt: true");
    assertThat(all.counted()).isGreaterThan(3 * messages.counted());

    write(i -> Map.of("talk", turns(i, "from", "value", "system", "human", "gpt")));
    try (SparkSession spark = SparkSession.builder().master("local[1]").getOrCreate()) {
      for (String part : List.of("train", "test")) {
        spark
            .read()
            .json(folder.resolve(part + ".jsonl").toString())
            .repartition(3)
            .write()
            .parquet(folder.resolve(part + ".parquet").toString());
      }
    }
    Run sharegpt =
        train(
            "train: train.parquet, test: test.parquet, format: parquet, formatting: sharegpt,"
                + " columns: {conversations: talk}");
    assertThat(sharegpt.adapter()).isEqualTo(messages.adapter());
    assertThat(sharegpt.last("rouge_l")).isEqualTo(messages.last("rouge_l"));
  }

  @Test
  void packedTextsHaveTheLossTheyHaveAlone() throws IOException {
    write(i -> Map.of("prompt", question(i), "completion", answer(i)));
    String data = JSONL + "formatting: prompt-completion";
    Run alone = train(data);
    Run packed = train(data + ", packing: true");

    assertThat(packed.counted()).isEqualTo(alone.counted());
    assertThat(packed.trainLoss()).isCloseTo(alone.trainLoss(), within(1e-5));
    assertThat(packed.last("loss")).isCloseTo(alone.last("loss"), within(1e-5));
    Path spread = Files.createDirectory(folder.resolve("spread"));
    List<String> lines = Files.readAllLines(folder.resolve("train.jsonl"));
    for (int i = 0; i < lines.size(); i++) {
      Files.writeString(spread.resolve((lines.size() - i) + ".jsonl"), lines.get(i) + "\n");
    }
    Run elsewhere =
        train(data.replace("train.jsonl", "spread") + ", packing: true", "--master", "local[1]");
    assertThat(elsewhere.adapter())
        .as("files and cores change nothing")
        .isEqualTo(packed.adapter());
  }

  @Test
  void textsOfTasksArePackedAndComparedByTheirTask() throws IOException {
    write(i -> Map.of("prompt", question(i), "completion", answer(i), "mood", i % 2));
    String data = JSONL + "formatting: prompt-completion, task: mood";
    String[] method = {
      "--set", "peft={peft_type: MTLORA, target_modules: all-linear, modules_to_save: []}"
    };
    Run alone = train(data, method);
    Run packed = train(data + ", packing: true", method);

    assertThat(packed.counted()).isEqualTo(alone.counted());
    assertThat(packed.trainLoss()).isCloseTo(alone.trainLoss(), within(1e-5));
    assertThat(packed.last("loss")).isCloseTo(alone.last("loss"), within(1e-5));
    JsonNode kept = JSON.readTree(alone.folder().resolve("adapter/spark_peft.json").toFile());
    assertThat(kept.get("tasks")).hasToString("[\"0\",\"1\"]");
    JsonNode again = Said.json("evaluate", "--run", alone.folder().toString());
    assertThat(again.get("rouge_l")).isEqualTo(alone.summary().get("final.rouge_l"));
    assertThat(again.get("loss").doubleValue()).isCloseTo(alone.last("loss"), within(1e-5));
  }

  @Test
  void theRecipeLearnsFromInstructions() throws IOException {
    Path file = Project.shared("data/dolly-short/train.jsonl.gz");
    List<String> rows;
    try (InputStream in = new GZIPInputStream(Files.newInputStream(file))) {
      rows = new String(in.readAllBytes(), StandardCharsets.UTF_8).lines().limit(200).toList();
    }
    Files.write(folder.resolve("train.jsonl"), rows.subList(0, 160));
    Files.write(folder.resolve("test.jsonl"), rows.subList(160, 200));
    JobMain.main(
        new String[] {
          "train",
          "-c",
          Project.root().resolve("conf/instructions.yaml").toString(),
          "--set",
          "model.path=" + Project.shared("models/stories260K"),
          "--set",
          "data.train=" + folder.resolve("train.jsonl"),
          "--set",
          "data.test=" + folder.resolve("test.jsonl"),
          "--set",
          "run.dir=" + folder.resolve("run"),
          "--set",
          "rounds.count=2",
          "--set",
          "evaluate.generate={max_examples: 8, settings: {max_new_tokens: 12}}"
        });
    Run run =
        new Run(JSON.readTree(folder.resolve("run/summary.json").toFile()), folder.resolve("run"));
    assertThat(run.last("perplexity"))
        .isLessThan(0.7 * run.summary().get("baseline.perplexity").doubleValue());
    assertThat(run.last("rouge_l")).isBetween(0.0, 1.0);
  }

  @Test
  void rowsThatDoNotFitTheLayoutAreNamed() throws IOException {
    Project.shared("models/stories260K"); // or skips, which is no refusal
    write(i -> Map.of("messages", i == 4 ? "none" : "text"));
    assertThatThrownBy(() -> train(JSONL + "formatting: messages"))
        .hasStackTraceContaining(
            "data.columns.messages: column \"messages\" must hold an array of structs with the"
                + " texts \"role\" and \"content\", it holds string");
    write(
        i ->
            Map.of(
                "messages",
                turns(i, "role", "content", "system", "user", i == 7 ? "robot" : "assistant")));
    assertThatThrownBy(() -> train(JSONL + "formatting: messages"))
        .hasStackTraceContaining(
            "a role among system, user (human) and assistant (gpt, model), got robot");
    write(i -> i == 5 ? Map.of("instruction", "x") : Map.of("instruction", "x", "output", "y"));
    assertThatThrownBy(() -> train(JSONL + "formatting: alpaca"))
        .hasStackTraceContaining("data.columns.output: column \"output\" is null in a row");
    assertThatThrownBy(() -> train(JSONL + "formatting: alpaca, columns: {instruction: ask}"))
        .hasStackTraceContaining("data.columns.instruction");
    String encoder = "model.path=" + Project.shared("models/all-MiniLM-L6-v2");
    assertThatThrownBy(() -> train(JSONL + "formatting: alpaca, packing: true", "--set", encoder))
        .hasStackTraceContaining("data.packing: needs a decoder, such as Llama or GPT-2");
  }
}
