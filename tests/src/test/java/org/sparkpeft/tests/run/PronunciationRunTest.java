package org.sparkpeft.tests.run;

import static org.assertj.core.api.Assertions.assertThat;
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
import java.util.List;
import java.util.Set;
import java.util.zip.GZIPInputStream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.federated.cli.JobMain;
import org.sparkpeft.tests.support.Project;
import org.sparkpeft.tests.support.Said;

/** A BART that spells American sounds learns British ones, whose alphabet is its decoder's own. */
class PronunciationRunTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final String NEW_PHONEMES = "Qaɒː";

  @TempDir Path folder;

  /** Words of three clients; every so many of them. */
  private void words(String split, int every, int most) throws IOException {
    Path file = Project.shared("data/wordpron-gb/" + split + ".jsonl.gz");
    List<String> kept = new ArrayList<>();
    int seen = 0;
    try (InputStream in = new GZIPInputStream(Files.newInputStream(file))) {
      for (String line : new String(in.readAllBytes(), StandardCharsets.UTF_8).lines().toList()) {
        boolean theirs =
            Set.of("a", "m", "t").contains(JSON.readTree(line).get("client_id").asText());
        if (theirs && seen++ % every == 0 && kept.size() < most) {
          kept.add(line);
        }
      }
    }
    Files.write(folder.resolve(split + ".jsonl"), kept);
  }

  @BeforeEach
  void files() throws IOException {
    words("train", 7, 1800);
    words("test", 8, 120);
    ObjectNode tokenizer =
        (ObjectNode)
            JSON.readTree(Project.shared("models/bart-g2p-us/phoneme_tokenizer.json").toFile());
    ObjectNode vocabulary = (ObjectNode) tokenizer.at("/model/vocab");
    for (int i = 0; i < NEW_PHONEMES.length(); i++) {
      vocabulary.put(NEW_PHONEMES.substring(i, i + 1), 50 + i);
    }
    JSON.writeValue(folder.resolve("british.json").toFile(), tokenizer);
    Files.writeString(
        folder.resolve("recipe.yaml"),
        """
        run:      {name: words, dir: run, seed: 7}
        model:    {path: "%s", task: text2text-generation, max_length: 48}
        data:     {train: train.jsonl, test: test.jsonl, text: word, text_pair: phonemes,
                   target_tokenizer: british.json}
        clients:  {partition: column, column: client_id}
        peft:     {peft_type: LORA, r: 32, lora_alpha: 64, target_modules: all-linear}
        train:    {local_epochs: 2, batch_size: 16, learning_rate: 5.0e-3}
        rounds:   {count: 2}
        compress: {uplink: {codec: none}, downlink: {codec: none}}
        evaluate: {metrics: [exact_match, wer, accuracy], references: [baseline]}
        spark:    {master: "local[2]"}
        """
            .formatted(Project.shared("models/bart-g2p-us")));
  }

  @Test
  void wordsAreSaidExactlyMoreOften() throws IOException {
    JobMain.main(new String[] {"train", "-c", folder.resolve("recipe.yaml").toString()});

    JsonNode summary = JSON.readTree(folder.resolve("run/summary.json").toFile());
    double exact = summary.get("final.exact_match").doubleValue();
    assertThat(exact).isGreaterThan(0.25);
    assertThat(summary.get("baseline.exact_match").doubleValue()).isBetween(0.02, 0.2);
    // Each text is one word, so the two say the same.
    assertThat(summary.get("final.wer").doubleValue()).isCloseTo(1 - exact, within(1e-12));
    List<String> rounds =
        Files.readAllLines(folder.resolve("run/events.jsonl")).stream()
            .filter(line -> line.contains("\"what\":\"round\""))
            .toList();
    assertThat(rounds).hasSize(1).allMatch(line -> !line.contains("exact_match"));
    assertThat(Files.readString(folder.resolve("run/report.html"))).contains("Exact match");

    String run = folder.resolve("run").toString();
    JsonNode again = Said.json("evaluate", "--run", run);
    assertThat(again.get("exact_match").doubleValue()).isEqualTo(exact);
    JsonNode some =
        Said.json(
            "evaluate",
            "--adapter",
            run + "/adapter",
            "--model",
            Project.shared("models/bart-g2p-us").toString(),
            "--data",
            folder.resolve("test.jsonl").toString(),
            "--text",
            "word",
            "--text-pair",
            "phonemes",
            "--metrics",
            "rouge_l",
            "--generation",
            "max_new_tokens=3",
            "--max-examples",
            "20");
    assertThat(some.has("exact_match")).isFalse();
    assertThat(some.get("rouge_l").doubleValue()).isBetween(0.0, 1.0);
  }
}
