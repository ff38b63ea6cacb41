package org.sparkpeft.core.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.model.Backbone;
import org.sparkpeft.core.model.Backbones;
import org.sparkpeft.core.model.HeadConfig;
import org.sparkpeft.core.model.LayerPaths;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.testing.SharedFiles;

/** Properties of generation; its numbers are compared with Hugging Face's elsewhere. */
class GeneratorTest {
  private static final ComputeDevice CPU = ComputeDevice.cpu();
  private static final List<int[]> PROMPTS =
      List.of(new int[] {19, 41, 99, 95, 130, 138}, new int[] {73, 18, 105}, new int[] {7});

  private static Backbone llama;
  private static Backbone bart;

  @BeforeAll
  static void load() {
    llama = model("llama-gqa");
    bart = model("bart");
  }

  @AfterAll
  static void close() {
    if (llama != null) {
      llama.close();
      bart.close();
    }
  }

  private static Backbone model(String name) {
    ModelDirectory directory =
        ModelDirectory.open(SharedFiles.find("golden/architectures/" + name));
    return Backbones.load(directory, CPU, HeadConfig.LANGUAGE);
  }

  private static Generator generator() {
    return new Generator(llama, CPU);
  }

  private static List<List<Integer>> tokens(List<List<Generated>> texts) {
    return texts.stream()
        .flatMap(List::stream)
        .map(text -> Arrays.stream(text.tokens()).boxed().toList())
        .toList();
  }

  @Test
  void aDrawnTextDependsOnSeedAndNumberOnly() {
    Map<String, Object> settings =
        Map.of("do_sample", true, "max_new_tokens", 8, "num_return_sequences", 3, "seed", 5);
    GenerationConfig config = GenerationConfig.of(settings);
    List<List<Integer>> together = tokens(generator().generate(PROMPTS, config, Tuning.NONE));
    assertThat(together).hasSize(9);
    assertThat(new HashSet<>(together.subList(0, 3))).as("texts of one prompt").hasSize(3);
    assertThat(tokens(generator().withBatchSize(1).generate(PROMPTS, config, Tuning.NONE)))
        .as("one prompt at a time")
        .isEqualTo(together);
    assertThat(tokens(generator().withoutCache().generate(PROMPTS, config, Tuning.NONE)))
        .isEqualTo(together);
    Map<String, Object> other = new TreeMap<>(settings);
    other.put("seed", 6);
    assertThat(tokens(generator().generate(PROMPTS, GenerationConfig.of(other), Tuning.NONE)))
        .isNotEqualTo(together);
  }

  @Test
  void tokensAreDrawnAsOftenAsTheyAreLikely() {
    GenerationConfig config =
        GenerationConfig.of(
            Map.of(
                "do_sample", true, "max_new_tokens", 1, "num_return_sequences", 4000, "top_k", 4));
    List<Generated> drawn =
        generator().generate(List.of(PROMPTS.get(0)), config, Tuning.NONE).get(0);
    Map<Integer, Long> counts =
        drawn.stream().collect(Collectors.groupingBy(t -> t.tokens()[0], Collectors.counting()));
    Map<Integer, Double> likely = new TreeMap<>();
    drawn.forEach(text -> likely.put(text.tokens()[0], Math.exp(text.score())));
    assertThat(counts).hasSize(4);
    double total = likely.values().stream().mapToDouble(p -> p).sum();
    likely.forEach(
        (token, p) -> {
          double share = p / total;
          double deviation = Math.sqrt(share * (1 - share) / drawn.size());
          assertThat((double) counts.getOrDefault(token, 0L) / drawn.size())
              .as("token " + token)
              .isCloseTo(share, Offset.offset(4 * deviation));
        });
  }

  @Test
  void textsEndAtTheEndTokenAndNotBeforeTheMinimum() {
    GenerationConfig free = GenerationConfig.of(Map.of("max_new_tokens", 12));
    List<List<Integer>> whole = tokens(generator().generate(PROMPTS, free, Tuning.NONE));
    int end = whole.get(0).get(3);
    GenerationConfig ending =
        GenerationConfig.of(Map.of("max_new_tokens", 12, "eos_token_id", end));
    List<List<Integer>> cut = tokens(generator().generate(PROMPTS, ending, Tuning.NONE));
    for (int i = 0; i < cut.size(); i++) {
      int at = whole.get(i).indexOf(end);
      assertThat(cut.get(i)).isEqualTo(at < 0 ? whole.get(i) : whole.get(i).subList(0, at + 1));
    }
    GenerationConfig later =
        GenerationConfig.of(Map.of("max_new_tokens", 12, "eos_token_id", end, "min_new_tokens", 6));
    assertThat(tokens(generator().generate(PROMPTS, later, Tuning.NONE)))
        .allSatisfy(text -> assertThat(text).hasSizeGreaterThan(5))
        .allSatisfy(text -> assertThat(text.subList(0, 6)).doesNotContain(end));
  }

  @Test
  void stopStringsNeedAndUseADecoder() {
    GenerationConfig free = GenerationConfig.of(Map.of("max_new_tokens", 12));
    List<Integer> whole =
        tokens(generator().generate(PROMPTS.subList(0, 1), free, Tuning.NONE)).get(0);
    String stop = "<" + whole.get(1) + "><" + whole.get(2) + ">";
    GenerationConfig config =
        GenerationConfig.of(Map.of("max_new_tokens", 12, "stop_strings", List.of("none", stop)));
    assertThatThrownBy(() -> generator().generate(PROMPTS, config, Tuning.NONE))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("stop_strings");
    Generator decoding =
        generator()
            .withDecoder(
                ids ->
                    Arrays.stream(ids)
                        .mapToObj(id -> "<" + id + ">")
                        .collect(Collectors.joining()));
    assertThat(tokens(decoding.generate(PROMPTS.subList(0, 1), config, Tuning.NONE)).get(0))
        .isEqualTo(whole.subList(0, 3));
  }

  @Test
  void whatDoesNotFitTheModelIsRefused() {
    int most = llama.config().maxTokens();
    GenerationConfig long1 = GenerationConfig.of(Map.of("max_new_tokens", most));
    assertThatThrownBy(() -> generator().generate(PROMPTS, long1, Tuning.NONE))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("positions; the model has " + most);
    GenerationConfig strange = GenerationConfig.of(Map.of("eos_token_id", 160));
    assertThatThrownBy(() -> generator().generate(PROMPTS, strange, Tuning.NONE))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("token id 160");
    GenerationConfig noStart = GenerationConfig.of(Map.of());
    assertThatThrownBy(() -> new Generator(bart, CPU).generate(PROMPTS, noStart, Tuning.NONE))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("decoder_start_token_id");
  }

  @Test
  void theEncoderRunsOnceAndEachTokenIsReadOnce() {
    Map<String, List<Long>> reads = new TreeMap<>();
    Tuning counting =
        new Tuning() {
          @Override
          public NDArray linear(Linear layer, NDArray x) {
            reads.computeIfAbsent(layer.path(), p -> new ArrayList<>()).add(x.getShape().get(1));
            return layer.apply(x);
          }
        };
    GenerationConfig config =
        GenerationConfig.of(Map.of("max_new_tokens", 4, "decoder_start_token_id", 2));
    new Generator(bart, CPU).generate(PROMPTS, config, counting);
    assertThat(reads.get("model.encoder.layers.0.fc1")).containsExactly(6L);
    assertThat(reads.get("model.decoder.layers.1.encoder_attn.k_proj")).containsExactly(6L);
    assertThat(reads.get("model.decoder.layers.1.fc1")).containsExactly(1L, 1L, 1L, 1L);
  }

  @ParameterizedTest
  @ValueSource(strings = {"bart", "t5", "llama-gqa", "gpt2"})
  void virtualTokensAndPrefixesAreReadOnce(String name) {
    try (Backbone model = model(name);
        NDManager manager = CPU.newManager()) {
      ModuleTree.Structure structure = model.modules().structure();
      int hidden = structure.hidden();
      NDArray prompt = manager.ones(new Shape(1, 2, hidden));
      NDArray past = manager.ones(new Shape(1, 3, structure.keySize()));
      Set<String> asked = new HashSet<>();
      Tuning tuning =
          new Tuning() {
            @Override
            public int virtualTokens() {
              return 2;
            }

            @Override
            public NDArray inputEmbeddings(NDArray embedded) {
              long batch = embedded.getShape().get(0);
              return prompt.broadcast(batch, 2, hidden).concat(embedded, 1);
            }

            @Override
            public int prefixLength() {
              return 3;
            }

            @Override
            public Optional<KeyValue> prefix(String path, long batch) {
              asked.add(path);
              NDArray rows = past.broadcast(batch, 3, structure.keySize());
              return Optional.of(new KeyValue(rows, rows));
            }
          };
      GenerationConfig config =
          GenerationConfig.of(
              Map.of("max_new_tokens", 6, "decoder_start_token_id", 2, "num_beams", 3));
      Generator generator = new Generator(model, CPU);
      List<List<Integer>> cached = tokens(generator.generate(PROMPTS, config, tuning));
      assertThat(cached)
          .isEqualTo(tokens(generator.withoutCache().generate(PROMPTS, config, tuning)))
          .isNotEqualTo(tokens(generator.generate(PROMPTS, config, Tuning.NONE)));
      assertThat(asked)
          .containsExactlyInAnyOrderElementsOf(
              structure.layers().stream().map(LayerPaths::key).toList());
    }
  }
}
