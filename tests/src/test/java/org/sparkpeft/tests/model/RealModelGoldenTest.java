package org.sparkpeft.tests.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.assertj.core.data.Offset;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.generate.Generated;
import org.sparkpeft.core.generate.GenerationConfig;
import org.sparkpeft.core.generate.Generator;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.model.Backbone;
import org.sparkpeft.core.model.Backbones;
import org.sparkpeft.core.model.HeadConfig;
import org.sparkpeft.core.model.ModelInput;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.text.TextTokenizer;
import org.sparkpeft.tests.support.Project;

/** Models that other people trained: logits and continuations computed elsewhere in float64. */
class RealModelGoldenTest {
  private static final ComputeDevice CPU = ComputeDevice.cpu();

  @ParameterizedTest
  @ValueSource(
      strings = {"stories260K", "babyllama-105", "gpt2-nano-sort", "bart-g2p-us", "bart-g2p-gb"})
  void logitsAndContinuations(String name) throws IOException {
    Path folder = Project.shared("models").resolve(name);
    assumeTrue(Files.isDirectory(folder), () -> folder + " is not there");
    JsonNode golden = new ObjectMapper().readTree(folder.resolve("golden.json").toFile());
    ModelDirectory directory = ModelDirectory.open(folder);
    CPU.bindThread();
    try (Backbone model = Backbones.load(directory, CPU, HeadConfig.LANGUAGE)) {
      golden.get("cases").forEach(one -> checkLogits(model, one));
      if (golden.has("greedy")) {
        checkContinuation(model, directory, golden.get("greedy"));
      }
      if (model.isEncoderDecoder()) {
        checkPronunciations(model, directory, golden.get("cases"));
      }
    }
  }

  private static void checkLogits(Backbone model, JsonNode one) {
    TokenBatch batch = batch(model, one.get("input_ids"));
    ModelInput input =
        one.has("decoder_input_ids")
            ? batch.withTarget(batch(model, one.get("decoder_input_ids")))
            : batch;
    int vocabulary = model.config().vocabulary();
    float[] logits;
    try (NDManager step = CPU.newManager()) {
      NDArray hidden = model.forward(step, input, Tuning.NONE);
      logits =
          model
              .logits(model.features(step, hidden, input, Tuning.NONE), Tuning.NONE)
              .toFloatArray();
    }
    double sum = 0;
    for (float logit : logits) {
      sum += logit;
    }
    assertThat(sum)
        .isCloseTo(one.get("all_logits_sum").doubleValue(), Offset.offset(1e-5 * logits.length));
    JsonNode best = one.get("argmax_per_position");
    assertThat(best.size() * vocabulary).isEqualTo(logits.length);
    for (int position = 0; position < best.size(); position++) {
      int most = 0;
      for (int token = 1; token < vocabulary; token++) {
        if (logits[position * vocabulary + token] > logits[position * vocabulary + most]) {
          most = token;
        }
      }
      assertThat(most).as("position " + position).isEqualTo(best.get(position).intValue());
    }
    int last = logits.length - vocabulary;
    JsonNode first =
        one.has("last_logits") ? one.get("last_logits") : one.get("last_logits_first16");
    for (int i = 0; i < first.size(); i++) {
      assertThat(logits[last + i])
          .as("logit " + i)
          .isCloseTo(first.get(i).floatValue(), Offset.offset(1e-4f));
    }
    for (JsonNode top : one.get("top5")) {
      assertThat(logits[last + top.get(0).intValue()])
          .isCloseTo(top.get(1).floatValue(), Offset.offset(1e-4f));
    }
  }

  private static TokenBatch batch(Backbone model, JsonNode ids) {
    return TokenBatch.of(List.of(ArchitectureCase.ints(ids)), model.config().padId());
  }

  private static void checkContinuation(Backbone model, ModelDirectory directory, JsonNode greedy) {
    int[] prompt = ArchitectureCase.ints(greedy.get("prompt_ids"));
    int[] all = ArchitectureCase.ints(greedy.get("output_ids"));
    int[] expected = Arrays.copyOfRange(all, prompt.length, all.length);
    GenerationConfig config = GenerationConfig.of(Map.of("max_new_tokens", expected.length));
    Generator generator = new Generator(model, CPU);
    assertThat(generator.generate(List.of(prompt), config, Tuning.NONE).get(0).get(0).tokens())
        .containsExactly(expected);
    int positions = model.config().maxTokens();
    try (TextTokenizer tokenizer = TextTokenizer.open(directory, positions)) {
      assertThat(tokenizer.decode(all)).isEqualTo(greedy.get("text").asText());
      GenerationConfig lily =
          GenerationConfig.of(
              Map.of("max_new_tokens", expected.length, "stop_strings", "named Lily."));
      int[] stopped =
          generator
              .withDecoder(tokenizer::decode)
              .generate(List.of(prompt), lily, Tuning.NONE)
              .get(0)
              .get(0)
              .tokens();
      assertThat(tokenizer.decode(stopped)).endsWith("little girl named Lily.");
    }
  }

  /** All words as one batch, with the settings of the model's own file. */
  private static void checkPronunciations(
      Backbone model, ModelDirectory directory, JsonNode cases) {
    List<int[]> words = new ArrayList<>();
    cases.forEach(one -> words.add(ArchitectureCase.ints(one.get("input_ids"))));
    GenerationConfig config = GenerationConfig.of(directory, Map.of("max_new_tokens", 30));
    List<List<Generated>> spoken = new Generator(model, CPU).generate(words, config, Tuning.NONE);
    for (int i = 0; i < words.size(); i++) {
      assertThat(spoken.get(i).get(0).tokens())
          .as(cases.get(i).get("text").asText())
          .containsExactly(ArchitectureCase.ints(cases.get(i).get("labels")));
    }
  }
}
