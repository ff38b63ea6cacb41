package org.sparkpeft.tests.model;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.assertj.core.data.Offset;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.generate.Generated;
import org.sparkpeft.core.generate.GenerationConfig;
import org.sparkpeft.core.generate.Generator;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.model.Backbone;
import org.sparkpeft.core.model.Tuning;

/** What a fixture's model generates: greedily, with and without a cache, and by beam search. */
final class GenerationGolden {
  private static final double SCORE = 1e-4;

  private GenerationGolden() {}

  static void check(Backbone model, ModelDirectory directory, JsonNode golden) {
    if (!golden.has("generation") && !golden.has("beam_search")) {
      return;
    }
    Generator generator = new Generator(model, ComputeDevice.cpu());
    for (JsonNode one : golden.path("generation")) {
      if (!one.get("inputs").has("input_ids")) {
        continue; // a text is not all that the model reads
      }
      Map<String, Object> settings = settings(directory);
      settings.put("max_new_tokens", one.get("settings").get("new_tokens").intValue());
      GenerationConfig config = GenerationConfig.of(settings);
      List<int[]> prompts = prompts(one.get("inputs"));
      String name = one.get("name").asText();
      List<List<Generated>> cached = generator.generate(prompts, config, Tuning.NONE);
      List<List<Generated>> fresh = generator.withoutCache().generate(prompts, config, Tuning.NONE);
      for (int row = 0; row < prompts.size(); row++) {
        int[] expected = fresh(model, one.get("inputs"), one.get("sequences").get(row));
        assertThat(cached.get(row).get(0).tokens()).as(name).containsExactly(expected);
        assertThat(fresh.get(row).get(0).tokens())
            .as("%s, without cache", name)
            .containsExactly(expected);
      }
    }
    if (golden.has("beam_search")) {
      golden
          .get("beam_search")
          .get("cases")
          .forEach(one -> checkBeams(generator, model, directory, golden.get("beam_search"), one));
    }
  }

  private static void checkBeams(
      Generator generator, Backbone model, ModelDirectory directory, JsonNode beams, JsonNode one) {
    Map<String, Object> settings = settings(directory);
    one.get("settings")
        .properties()
        .forEach(entry -> settings.put(entry.getKey(), entry.getValue()));
    settings.put("pad_token_id", beams.get("pad_token_id").intValue());
    Set<Integer> ends = new HashSet<>();
    JsonNode eos = one.get("settings").get("eos_token_id");
    for (JsonNode id : eos.isArray() ? eos : List.of(eos)) {
      ends.add(id.isNull() ? -1 : id.intValue());
    }
    GenerationConfig config = GenerationConfig.of(settings);
    List<List<Generated>> actual =
        generator.generate(prompts(beams.get("inputs")), config, Tuning.NONE);
    int at = 0;
    for (List<Generated> texts : actual) {
      assertThat(texts).hasSize(one.get("settings").get("num_return_sequences").intValue());
      for (Generated text : texts) {
        int[] expected = fresh(model, beams.get("inputs"), one.get("sequences").get(at));
        int length = 0;
        while (length < expected.length && (length == 0 || !ends.contains(expected[length - 1]))) {
          length++;
        }
        double score = one.get("sequences_scores").get(at).doubleValue();
        assertThat(text.tokens())
            .as("text %d of %s", at, one.get("settings"))
            .containsExactly(Arrays.copyOf(expected, length));
        assertThat(text.score())
            .as("score %d of %s", at, one.get("settings"))
            .isCloseTo(score, Offset.offset(SCORE * Math.max(1, Math.abs(score))));
        at++;
      }
    }
    assertThat(at).isEqualTo(one.get("sequences").size());
  }

  private static Map<String, Object> settings(ModelDirectory directory) {
    Map<String, Object> settings = new LinkedHashMap<>();
    JsonNode start = directory.config().path("decoder_start_token_id");
    if (start.isIntegralNumber()) {
      settings.put("decoder_start_token_id", start.intValue());
    }
    return settings;
  }

  private static List<int[]> prompts(JsonNode inputs) {
    List<int[]> prompts = new ArrayList<>();
    for (int row = 0; row < inputs.get("input_ids").size(); row++) {
      prompts.add(
          ArchitectureCase.kept(
              inputs.get("input_ids").get(row), inputs.path("attention_mask").path(row)));
    }
    return prompts;
  }

  /** The new tokens of a sequence. */
  private static int[] fresh(Backbone model, JsonNode inputs, JsonNode sequence) {
    int[] all = ArchitectureCase.ints(sequence);
    int prompt = model.isEncoderDecoder() ? 1 : inputs.get("input_ids").get(0).size();
    return Arrays.copyOfRange(all, prompt, all.length);
  }
}
