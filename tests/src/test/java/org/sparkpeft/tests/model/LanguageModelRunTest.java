package org.sparkpeft.tests.model;

import static org.assertj.core.api.Assertions.assertThat;

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
import java.util.Set;
import java.util.zip.GZIPInputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.federated.cli.JobMain;
import org.sparkpeft.tests.support.Project;
import org.sparkpeft.tests.support.Said;

/** A Llama tuned on the speeches of some characters, each of whom is a client. */
class LanguageModelRunTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final Set<String> CLIENTS = Set.of("ROMEO", "JULIET", "LEONTES");

  @TempDir Path folder;

  private void write(String name, int from, int to) throws IOException {
    Path file = Project.shared("data/tinyshakespeare/by_speaker.jsonl.gz");
    List<String> rows = new ArrayList<>();
    try (InputStream in = new GZIPInputStream(Files.newInputStream(file))) {
      for (String line : new String(in.readAllBytes(), StandardCharsets.UTF_8).lines().toList()) {
        ObjectNode row = (ObjectNode) JSON.readTree(line);
        String text = row.get("text").asText();
        if (CLIENTS.contains(row.get("client_id").asText()) && text.length() > 60) {
          // Half of a speech asks for the other half.
          row.put("begin", text.substring(0, text.indexOf(' ', 20)));
          row.put("end", text.substring(text.indexOf(' ', 20)));
          rows.add(row.toString());
        }
      }
    }
    Files.write(folder.resolve(name), rows.subList(from, to));
  }

  private JsonNode train(String data) throws IOException {
    write("train.jsonl", 0, 120);
    write("test.jsonl", 120, 160);
    Path recipe = folder.resolve("recipe.yaml");
    Files.writeString(
        recipe,
        """
        run:      {name: shakespeare, dir: run, seed: 7}
        model:    {path: "%s", task: text-generation, max_length: 64}
        data:     {train: train.jsonl, test: test.jsonl, %s}
        clients:  {partition: column, column: client_id}
        peft:     {peft_type: LORA, r: 8, lora_alpha: 16, target_modules: all-linear}
        train:    {local_epochs: 1, batch_size: 8, learning_rate: 3.0e-3}
        rounds:   {count: 3}
        evaluate: {metrics: [perplexity, accuracy], references: [baseline]}
        spark:    {master: "local[2]"}
        """
            .formatted(Project.shared("models/stories260K"), data));
    JobMain.main(new String[] {"train", "-c", recipe.toString()});
    return JSON.readTree(folder.resolve("run/summary.json").toFile());
  }

  @Test
  void federatedTrainingLowersPerplexity() throws IOException {
    JsonNode summary = train("text: text");
    assertThat(summary.get("final.perplexity").doubleValue())
        .isLessThan(0.5 * summary.get("baseline.perplexity").doubleValue());
    JsonNode config = JSON.readTree(folder.resolve("run/adapter/adapter_config.json").toFile());
    assertThat(config.get("task_type").asText()).isEqualTo("CAUSAL_LM");
    assertThat(config.path("modules_to_save")).as("it has no classifier").isEmpty();
  }

  @Test
  void theAdapterOfARunGenerates() throws IOException {
    train("text: text");
    String run = folder.resolve("run").toString();
    String[] plain = {"generate", "--run", run, "--text", "O Romeo"};
    JsonNode told = generated(plain, "--generation", "max_new_tokens=12");
    assertThat(told.get("generated").get(0).get("generated").get(0).asText()).isNotBlank();
    assertThat(generated(plain, "--generation", "max_new_tokens=12")).isEqualTo(told);
    JsonNode base =
        generated(
            new String[] {
              "generate",
              "--model",
              Project.shared("models/stories260K").toString(),
              "--text",
              "O Romeo"
            },
            "--generation",
            "max_new_tokens=12");
    assertThat(base).isNotEqualTo(told);
  }

  private static JsonNode generated(String[] command, String... more) throws IOException {
    List<String> arguments = new ArrayList<>(List.of(command));
    arguments.addAll(List.of(more));
    return Said.json(arguments.toArray(String[]::new));
  }

  /** Without settings the task is the model's, and the targets are its own queries and values. */
  @Test
  void itsUpdatesAreTimed() throws IOException {
    String model = Project.shared("models/stories260K").toString();
    JsonNode row =
        Said.json(
                "bench",
                "train",
                "--model",
                model,
                "--batch",
                "2",
                "--length",
                "16",
                "--steps",
                "2",
                "--warmup",
                "0")
            .get("rows")
            .get(0);
    assertThat(row.get("method").asText()).isEqualTo("LORA");
    assertThat(row.get("step_ms").doubleValue()).isPositive();
    // Random words: no better than guessing among 512, and far from certain of others.
    assertThat(row.get("loss").doubleValue()).isBetween(Math.log(512), 30.0);
  }

  @Test
  void onlyTheAnswerOfAPromptIsLearnt() throws IOException {
    JsonNode summary = train("text: begin, text_pair: end");
    assertThat(summary.get("final.perplexity").doubleValue())
        .isLessThan(0.6 * summary.get("baseline.perplexity").doubleValue());
  }
}
