package org.sparkpeft.tests.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.zip.GZIPInputStream;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.io.WeightSource;
import org.sparkpeft.federated.cli.JobMain;
import org.sparkpeft.federated.client.TextGeneration;
import org.sparkpeft.federated.ml.PeftTextGenerator;
import org.sparkpeft.tests.support.Project;
import org.sparkpeft.tests.support.Said;

/** A small Llama is tuned on Shakespeare, and what it learned tunes a larger one. */
class ProxyTuningRunTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int TRAINED = 160;

  @TempDir static Path folder;
  private static List<String> heldOut = List.of();

  @BeforeAll
  static void train() throws IOException {
    smaller();
    List<String> rows = new ArrayList<>();
    Path file = Project.shared("data/tinyshakespeare/by_speaker.jsonl.gz");
    try (InputStream in = new GZIPInputStream(Files.newInputStream(file))) {
      for (String line : new String(in.readAllBytes(), StandardCharsets.UTF_8).lines().toList()) {
        ObjectNode row = (ObjectNode) JSON.readTree(line);
        String text = row.get("text").asText();
        if (text.length() > 60 && text.length() < 200) {
          row.put("begin", text.substring(0, text.indexOf(' ', 20)));
          row.put("end", text.substring(text.indexOf(' ', 20)));
          row.put("client", "client" + rows.size() % 4);
          rows.add(row.toString());
        }
      }
    }
    Files.write(folder.resolve("train.jsonl"), rows.subList(0, TRAINED));
    Files.write(folder.resolve("test.jsonl"), rows.subList(TRAINED, TRAINED + 40));
    List<String> texts = new ArrayList<>();
    for (String row : rows.subList(TRAINED, TRAINED + 12)) {
      texts.add(JSON.readTree(row).get("text").asText());
    }
    heldOut = List.copyOf(texts);
    train("run", "text: text", "metrics: [perplexity]", 3);
  }

  /** The first four of five layers. */
  private static void smaller() {
    ModelDirectory whole = ModelDirectory.open(Path.of(large()));
    SortedMap<String, TensorData> kept = new TreeMap<>();
    try (WeightSource weights = whole.weights()) {
      for (String name : weights.names()) {
        if (!name.contains(".layers.4.")) {
          kept.put(name, weights.tensor(name));
        }
      }
    }
    ObjectNode config = (ObjectNode) whole.config();
    config.put("num_hidden_layers", 4);
    ModelDirectory.save(folder.resolve("small"), config, kept, whole.companionFiles());
  }

  private static JsonNode train(String run, String columns, String evaluate, int rounds)
      throws IOException {
    Path recipe = folder.resolve(run + ".yaml");
    Files.writeString(
        recipe,
        """
        run:      {name: proxy, dir: %s, seed: 7}
        model:    {path: small, task: text-generation, max_length: 64, fuse: true}
        data:     {train: train.jsonl, test: test.jsonl, %s}
        clients:  {partition: column, column: client}
        peft:     {peft_type: LORA, r: 8, lora_alpha: 16, target_modules: all-linear}
        train:    {local_epochs: 1, batch_size: 8, learning_rate: 3.0e-3}
        rounds:   {count: %d}
        evaluate: {%s, references: [baseline]}
        spark:    {master: "local[2]"}
        """
            .formatted(run, columns, rounds, evaluate));
    JobMain.main(new String[] {"train", "-c", recipe.toString()});
    return JSON.readTree(folder.resolve(run).resolve("summary.json").toFile());
  }

  private static String large() {
    return Project.shared("models/stories260K").toString();
  }

  private static String small() {
    return folder.resolve("small").toString();
  }

  private static String adapter() {
    return folder.resolve("run/adapter").toString();
  }

  private static double perplexity(String... options) throws IOException {
    List<String> command =
        new ArrayList<>(List.of("generate", "--perplexity", "--max-length", "64"));
    heldOut.forEach(text -> command.addAll(List.of("--text", text)));
    command.addAll(List.of(options));
    double logs = 0;
    for (JsonNode row : Said.json(command.toArray(String[]::new)).get("perplexity")) {
      logs += Math.log(row.get("perplexity").doubleValue());
    }
    return Math.exp(logs / heldOut.size());
  }

  private static String generated(String... options) throws IOException {
    List<String> command =
        new ArrayList<>(List.of("generate", "--text", "O Romeo", "--text", "My lord, the"));
    command.addAll(List.of("--generation", "max_new_tokens=12"));
    command.addAll(List.of(options));
    return Said.json(command.toArray(String[]::new)).get("generated").toString();
  }

  @Test
  void theLargerModelExpectsShakespeareMoreThanBefore() throws IOException {
    double alone = perplexity("--model", large());
    double tuned = perplexity("--model", large(), "--proxy", small(), "--proxy-adapter", adapter());
    double half =
        perplexity(
            "--model",
            large(),
            "--proxy",
            small(),
            "--proxy-adapter",
            adapter(),
            "--proxy-alpha",
            "0.5");
    double away =
        perplexity(
            "--model",
            large(),
            "--proxy",
            small(),
            "--proxy-adapter",
            adapter(),
            "--proxy-alpha",
            "-0.5");
    assertThat(tuned).isLessThan(0.85 * alone);
    assertThat(half).isLessThan(0.75 * alone);
    assertThat(away).isGreaterThan(alone);
  }

  @Test
  void onItselfItIsTheAdapter() throws IOException {
    String[] proxied = {"--model", small(), "--proxy", small(), "--proxy-adapter", adapter()};
    String[] tuned = {"--model", small(), "--adapter", adapter()};
    assertThat(generated(proxied)).isEqualTo(generated(tuned));
    assertThat(perplexity(proxied))
        .isCloseTo(perplexity(tuned), org.assertj.core.data.Percentage.withPercentage(0.01));
  }

  @Test
  void aModelTrainedInFullNeedsTheOneItCameFrom() throws IOException {
    String fused = folder.resolve("run/merged").toString();
    assertThat(generated("--model", large(), "--proxy", fused, "--proxy-base", small()))
        .isEqualTo(generated("--model", large(), "--proxy", small(), "--proxy-adapter", adapter()))
        .isNotEqualTo(generated("--model", large()));
  }

  @Test
  void onExecutorsItIsTheSame() throws IOException {
    Map<String, Integer> settings = Map.of("max_new_tokens", 8);
    List<String> texts = List.of("O Romeo", "The cat", "My lord, the");
    List<List<String>> here =
        TextGeneration.of(large(), 512)
            .withProxy(small(), adapter(), "", 1, 512)
            .continuations(texts, settings);
    PeftTextGenerator generator = new PeftTextGenerator().setModel(large()).setGeneration(settings);
    try (SparkSession spark =
        SparkSession.builder().master("local[2]").config("spark.ui.enabled", false).getOrCreate()) {
      Dataset<Row> rows = spark.createDataset(texts, Encoders.STRING()).toDF("text");
      generator.setProxy(small()).setProxyAdapter(adapter());
      List<List<String>> found = new ArrayList<>();
      generator.transform(rows).collectAsList().forEach(row -> found.add(row.getList(1)));
      assertThat(found).isEqualTo(here);
      found.clear();
      generator
          .setProxyAlpha(0)
          .transform(rows)
          .collectAsList()
          .forEach(row -> found.add(row.getList(1)));
      assertThat(found)
          .isEqualTo(TextGeneration.of(large(), 512).continuations(texts, settings))
          .isNotEqualTo(here);
      assertThatThrownBy(() -> generator.setProxy("").transform(rows))
          .hasMessageContaining("proxyAdapter and proxyBase belong to it");
    }
  }

  /** Without strength the larger model says the same before and after the small one's training. */
  @Test
  void aRunComparesWhatTheLargerModelSays() throws IOException {
    String columns = "text: begin, text_pair: end";
    String evaluate =
        "every: 0, metrics: [rouge_l], generate: {settings: {max_new_tokens: 24}, proxy_for: \"%s\", proxy_alpha: %s}";
    JsonNode without = train("without", columns, evaluate.formatted(large(), 0), 1);
    JsonNode with = train("with", columns, evaluate.formatted(large(), 1), 1);
    assertThat(without.get("final.rouge_l")).isEqualTo(without.get("baseline.rouge_l"));
    assertThat(with.get("baseline.rouge_l")).isEqualTo(without.get("baseline.rouge_l"));
    assertThat(with.get("final.rouge_l")).isNotEqualTo(with.get("baseline.rouge_l"));
  }

  @Test
  void otherTokensAreRefused() {
    String letters = Project.shared("models/babyllama-105").toString();
    TextGeneration stories = TextGeneration.of(large(), 64);
    assertThatThrownBy(() -> stories.withProxy(letters, "", small(), 1, 64))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("has 512 tokens")
        .hasMessageContaining("has 105");
    assertThatThrownBy(() -> stories.withProxy(small(), "", "", 1, 64))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("no difference to add");
  }
}
