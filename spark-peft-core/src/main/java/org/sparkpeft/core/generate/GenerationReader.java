package org.sparkpeft.core.generate;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;
import java.util.TreeSet;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.ModelDirectory;

/** Reads a {@link GenerationConfig} by Hugging Face's names. */
final class GenerationReader {
  private static final ObjectMapper JSON = new ObjectMapper();

  private static final Set<String> KNOWN =
      Set.of(
          "max_new_tokens",
          "max_length",
          "min_new_tokens",
          "min_length",
          "do_sample",
          "temperature",
          "top_k",
          "top_p",
          "min_p",
          "typical_p",
          "epsilon_cutoff",
          "eta_cutoff",
          "num_beams",
          "num_return_sequences",
          "length_penalty",
          "early_stopping",
          "repetition_penalty",
          "no_repeat_ngram_size",
          "eos_token_id",
          "pad_token_id",
          "bos_token_id",
          "decoder_start_token_id",
          "forced_bos_token_id",
          "forced_eos_token_id",
          "suppress_tokens",
          "begin_suppress_tokens",
          "stop_strings",
          "seed");

  /** Ids that Hugging Face takes from {@code config.json} when the generation file lacks them. */
  private static final List<String> SHARED_IDS =
      List.of("eos_token_id", "pad_token_id", "bos_token_id", "decoder_start_token_id");

  /** Settings that would change the result, with the value that does not. */
  private static final Map<String, Double> UNSUPPORTED =
      Map.ofEntries(
          Map.entry("num_beam_groups", 1.0),
          Map.entry("diversity_penalty", 0.0),
          Map.entry("penalty_alpha", 0.0),
          Map.entry("encoder_repetition_penalty", 1.0),
          Map.entry("encoder_no_repeat_ngram_size", 0.0),
          Map.entry("bad_words_ids", 0.0),
          Map.entry("force_words_ids", 0.0),
          Map.entry("constraints", 0.0),
          Map.entry("sequence_bias", 0.0),
          Map.entry("exponential_decay_length_penalty", 0.0),
          Map.entry("guidance_scale", 1.0),
          Map.entry("watermarking_config", 0.0),
          Map.entry("forced_decoder_ids", 0.0),
          Map.entry("renormalize_logits", 0.0),
          Map.entry("remove_invalid_values", 0.0),
          Map.entry("dola_layers", 0.0),
          Map.entry("top_h", 1.0),
          Map.entry("max_time", 0.0));

  private GenerationReader() {}

  static GenerationConfig read(Map<String, ?> settings) {
    return read(new Settings(known(settings), "the settings"));
  }

  static GenerationConfig read(ModelDirectory directory, Map<String, ?> replaced) {
    ObjectNode all = JSON.createObjectNode();
    JsonNode config = directory.config();
    JsonNode own = directory.generationConfig().orElse(config);
    for (String key : SHARED_IDS) {
      if (config.has(key)) {
        all.set(key, config.get(key));
      }
    }
    own.properties().forEach(entry -> all.set(entry.getKey(), entry.getValue()));
    known(replaced).properties().forEach(entry -> all.set(entry.getKey(), entry.getValue()));
    return read(new Settings(all, directory.path().toString()));
  }

  private static JsonNode known(Map<String, ?> settings) {
    for (String key : settings.keySet()) {
      if (!KNOWN.contains(key) && !UNSUPPORTED.containsKey(key)) {
        throw new ConfigException(
            "generation." + key,
            "is unknown; known are " + String.join(", ", new TreeSet<>(KNOWN)));
      }
    }
    return JSON.valueToTree(settings);
  }

  private static GenerationConfig read(Settings from) {
    UNSUPPORTED.forEach(from::unsupported);
    List<Integer> pad = from.ids("pad_token_id");
    OptionalInt start = from.id("decoder_start_token_id");
    return new GenerationConfig(
        new GenerationConfig.Length(
            from.count("max_new_tokens", 0),
            from.count("max_length", 20),
            from.count("min_new_tokens", 0),
            from.count("min_length", 0)),
        new GenerationConfig.Sampling(
            from.flag("do_sample", false),
            from.number("temperature", 1),
            from.count("top_k", 50),
            from.number("top_p", 1),
            from.number("min_p", 0),
            from.number("typical_p", 1),
            from.number("epsilon_cutoff", 0),
            from.number("eta_cutoff", 0)),
        new GenerationConfig.Beams(
            from.count("num_beams", 1),
            from.count("num_return_sequences", 1),
            from.number("length_penalty", 1),
            earlyStopping(from.word("early_stopping", "false"))),
        new GenerationConfig.Penalties(
            from.number("repetition_penalty", 1), from.count("no_repeat_ngram_size", 0)),
        new GenerationConfig.Tokens(
            from.ids("eos_token_id"),
            pad.isEmpty() ? OptionalInt.empty() : OptionalInt.of(pad.get(0)),
            start.isPresent() ? start : from.id("bos_token_id"),
            from.id("forced_bos_token_id"),
            from.ids("forced_eos_token_id"),
            from.ids("suppress_tokens"),
            from.ids("begin_suppress_tokens")),
        from.texts("stop_strings"),
        from.wholeNumber("seed", 0));
  }

  private static GenerationConfig.EarlyStopping earlyStopping(String word) {
    for (GenerationConfig.EarlyStopping value : GenerationConfig.EarlyStopping.values()) {
      if (value.name().toLowerCase(Locale.ROOT).equals(word)) {
        return value;
      }
    }
    throw new ConfigException(
        "generation.early_stopping", "must be true, false or \"never\", got " + word);
  }
}
