package org.sparkpeft.core.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.ndarray.NDArray;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.io.WeightSource;
import org.sparkpeft.core.model.Backbone;
import org.sparkpeft.core.model.Backbones;
import org.sparkpeft.core.model.HeadConfig;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.testing.SharedFiles;

class ProxyTuningTest {
  private static final ComputeDevice CPU = ComputeDevice.cpu();
  private static final List<int[]> PROMPTS =
      List.of(new int[] {19, 41, 99, 95, 130, 138}, new int[] {73, 18, 105}, new int[] {7});

  /** Something that training might have done. */
  private static final Tuning LOUDER =
      new Tuning() {
        @Override
        public NDArray linear(Linear layer, NDArray x) {
          NDArray y = layer.apply(x);
          return layer.path().endsWith("o_proj") ? y.mul(3) : y;
        }
      };

  private static Backbone base;
  private static Backbone other;

  @TempDir Path folder;

  @BeforeAll
  static void load() {
    base = model(fixture("llama-gqa"));
    other = model(fixture("llama"));
  }

  @AfterAll
  static void close() {
    if (base != null) {
      base.close();
      other.close();
    }
  }

  private static ModelDirectory fixture(String name) {
    return ModelDirectory.open(SharedFiles.find("golden/architectures/" + name));
  }

  private static Backbone model(ModelDirectory directory) {
    return Backbones.load(directory, CPU, HeadConfig.LANGUAGE);
  }

  private static ProxyTuning proxy(Backbone small, double alpha) {
    return new ProxyTuning(
        new ProxyTuning.Network(small, LOUDER), new ProxyTuning.Network(small, Tuning.NONE), alpha);
  }

  static List<Map<String, Object>> waysToChoose() {
    return List.of(
        Map.of("max_new_tokens", 8),
        Map.of("max_new_tokens", 8, "num_beams", 3, "num_return_sequences", 2),
        Map.of("max_new_tokens", 8, "do_sample", true, "seed", 3, "num_return_sequences", 2),
        Map.of("max_new_tokens", 8, "repetition_penalty", 1.5, "no_repeat_ngram_size", 2),
        Map.of("max_new_tokens", 8, "stop_strings", List.of("<23>", "<101>")));
  }

  private static Generator generator(Backbone model) {
    return new Generator(model, CPU).withDecoder(ProxyTuningTest::words);
  }

  private static String words(int[] ids) {
    StringBuilder words = new StringBuilder();
    Arrays.stream(ids).forEach(id -> words.append('<').append(id).append('>'));
    return words.toString();
  }

  private static List<List<String>> shown(List<List<Generated>> texts, boolean withScores) {
    List<List<String>> all = new ArrayList<>();
    for (List<Generated> some : texts) {
      all.add(
          some.stream().map(one -> words(one.tokens()) + (withScores ? one.score() : "")).toList());
    }
    return all;
  }

  @Test
  void theNumbersOfAnExampleByHand() {
    float[] logits =
        ProxyTuning.combine(
            new float[] {2, 1, 0}, new float[] {.5f, 2, 0}, new float[] {1, 1, 0}, 1);
    assertThat(logits).containsExactly(1.5f, 2, 0);
    assertThat(Warpers.probabilities(logits))
        .containsExactly(new double[] {.348207, .574097, .077696}, Offset.offset(1e-6));
    assertThat(
            ProxyTuning.combine(
                new float[] {2, 1, 0}, new float[] {.5f, 2, 0}, new float[] {1, 1, 0}, -0.5))
        .containsExactly(2.25f, 0.5f, 0);
  }

  @Test
  void rowsThatTheBaseLacksAreIgnoredAndThoseThatOthersLackAreNotChosen() {
    assertThat(
            ProxyTuning.combine(
                new float[] {2, 1, 0}, new float[] {1, 1, 1, 9}, new float[] {0, 1}, 1))
        .containsExactly(3, 1, Float.NEGATIVE_INFINITY);
  }

  @ParameterizedTest
  @MethodSource("waysToChoose")
  void withoutStrengthItIsTheBaseToTheBit(Map<String, Object> settings) {
    GenerationConfig config = GenerationConfig.of(settings);
    List<List<Generated>> alone = generator(base).generate(PROMPTS, config, Tuning.NONE);
    assertThat(
            shown(
                generator(base).withProxy(proxy(other, 0)).generate(PROMPTS, config, Tuning.NONE),
                true))
        .isEqualTo(shown(alone, true));
    assertThat(
            shown(
                generator(base).withProxy(proxy(other, 1)).generate(PROMPTS, config, Tuning.NONE),
                false))
        .as("with strength")
        .isNotEqualTo(shown(alone, false));
  }

  /** The base plus what its own tuning changes is the tuned base; all caches are kept in step. */
  @ParameterizedTest
  @MethodSource("waysToChoose")
  void withItsOwnTuningTheBaseIsTheTunedModel(Map<String, Object> settings) {
    GenerationConfig config = GenerationConfig.of(settings);
    List<List<Generated>> tuned = generator(base).generate(PROMPTS, config, LOUDER);
    Generator proxied = generator(base).withProxy(proxy(base, 1));
    List<List<Generated>> found = proxied.generate(PROMPTS, config, Tuning.NONE);
    assertThat(shown(found, false)).isEqualTo(shown(tuned, false));
    for (int i = 0; i < found.size(); i++) {
      assertThat(found.get(i).get(0).score())
          .isCloseTo(tuned.get(i).get(0).score(), Offset.offset(1e-5));
    }
    assertThat(shown(proxied.withoutCache().generate(PROMPTS, config, Tuning.NONE), false))
        .isEqualTo(shown(found, false));
    assertThat(shown(proxied.withBatchSize(1).generate(PROMPTS, config, Tuning.NONE), false))
        .isEqualTo(shown(found, false));
  }

  @Test
  void aTextIsAsLikelyAsWhatIsGeneratedSays() {
    GenerationConfig config = GenerationConfig.of(Map.of("max_new_tokens", 7));
    Generator proxied = generator(base).withProxy(proxy(other, 0.7));
    for (int[] prompt : PROMPTS) {
      Generated found = proxied.generate(List.of(prompt), config, Tuning.NONE).get(0).get(0);
      int[] text = Arrays.copyOf(prompt, prompt.length + found.tokens().length);
      System.arraycopy(found.tokens(), 0, text, prompt.length, found.tokens().length);
      double[] logs = proxied.logProbabilities(List.of(text), Tuning.NONE).get(0);
      assertThat(logs).hasSize(text.length - 1);
      assertThat(Arrays.stream(logs).skip(prompt.length - 1).average().orElseThrow())
          .isCloseTo(found.score(), Offset.offset(1e-5));
    }
    int[] text = new int[60];
    Arrays.setAll(text, i -> (i * 37) % 160);
    double[] own =
        generator(base)
            .withProxy(proxy(base, 1))
            .logProbabilities(List.of(text), Tuning.NONE)
            .get(0);
    assertThat(own)
        .containsExactly(
            generator(base).logProbabilities(List.of(text), LOUDER).get(0), Offset.offset(1e-5));
  }

  /** Vocabularies that are rounded up differently: the last ten rows have no token. */
  @Test
  void aSmallerTableOfTheSmallNetworkIsEnough() {
    try (Backbone cut = model(cut(150))) {
      GenerationConfig config =
          GenerationConfig.of(
              Map.of("max_new_tokens", 40, "do_sample", true, "top_k", 0, "temperature", 50.0));
      List<List<Generated>> free = generator(base).generate(PROMPTS, config, Tuning.NONE);
      assertThat(largest(free)).as("of the base alone").isGreaterThan(149);
      Generator proxied = generator(base).withProxy(proxy(cut, 1));
      assertThat(largest(proxied.generate(PROMPTS, config, Tuning.NONE))).isLessThan(150);
      Generator wider = generator(cut).withProxy(proxy(base, 1));
      assertThat(largest(wider.generate(PROMPTS, config, Tuning.NONE))).isLessThan(150);
      assertThatThrownBy(() -> proxied.generate(List.of(new int[] {3, 155}), config, Tuning.NONE))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("token id 155; the smaller network knows 150 tokens");
    }
  }

  private static int largest(List<List<Generated>> texts) {
    return texts.stream()
        .flatMap(List::stream)
        .flatMapToInt(text -> Arrays.stream(text.tokens()))
        .max()
        .orElseThrow();
  }

  private ModelDirectory cut(int tokens) {
    ModelDirectory whole = fixture("llama-gqa");
    SortedMap<String, TensorData> tensors = new TreeMap<>();
    try (WeightSource weights = whole.weights()) {
      for (String name : weights.names()) {
        List<Integer> shape = new ArrayList<>(weights.shape(name));
        float[] values = weights.floats(name);
        if (shape.get(0) == 160) {
          values = Arrays.copyOf(values, values.length / 160 * tokens);
          shape.set(0, tokens);
        }
        tensors.put(name, TensorData.ofFloats(name, shape, values));
      }
    }
    ObjectNode config = (ObjectNode) whole.config();
    config.put("vocab_size", tokens);
    return ModelDirectory.save(folder.resolve("cut"), config, tensors, List.of());
  }

  @Test
  void networksThatDoNotFitAreRefused() {
    try (Backbone bart = model(fixture("bart"));
        Backbone dynamic = model(fixture("gpt2"))) {
      assertThatThrownBy(() -> generator(base).withProxy(proxy(bart, 1)))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("all be decoders or all encoder-decoders");
      GenerationConfig config = GenerationConfig.of(Map.of("max_new_tokens", 50));
      assertThatThrownBy(
              () ->
                  generator(base)
                      .withProxy(proxy(dynamic, 1))
                      .generate(PROMPTS, config, Tuning.NONE))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("the expert has 48");
      assertThatThrownBy(
              () -> generator(bart).logProbabilities(List.of(new int[] {1, 2}), Tuning.NONE))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("encoder-decoder");
    }
    assertThatThrownBy(() -> proxy(other, Double.NaN))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("must be finite");
  }

  /** Expert and anti-expert that are different models, of encoder-decoders. */
  @Test
  void theDifferenceOfTwoModelsTurnsOneIntoTheOther() {
    try (Backbone american = spelling("us");
        Backbone british = spelling("gb")) {
      GenerationConfig config =
          GenerationConfig.of(
              Map.of("max_new_tokens", 10, "decoder_start_token_id", 1, "eos_token_id", 2));
      List<int[]> words =
          List.of(new int[] {1, 13, 52, 17, 17, 54, 2}, new int[] {1, 10, 9, 19, 9, 2});
      ProxyTuning difference =
          new ProxyTuning(
              new ProxyTuning.Network(british, Tuning.NONE),
              new ProxyTuning.Network(american, Tuning.NONE),
              1);
      Generator proxied = generator(american).withProxy(difference);
      assertThat(shown(proxied.generate(words, config, Tuning.NONE), false))
          .isEqualTo(shown(generator(british).generate(words, config, Tuning.NONE), false))
          .isNotEqualTo(shown(generator(american).generate(words, config, Tuning.NONE), false));
    }
  }

  private static Backbone spelling(String dialect) {
    return model(ModelDirectory.open(SharedFiles.find("models/bart-g2p-" + dialect)));
  }
}
