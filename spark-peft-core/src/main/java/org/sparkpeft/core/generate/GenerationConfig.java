package org.sparkpeft.core.generate;

import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.ModelDirectory;

/**
 * How to generate, with the names and defaults of Hugging Face's {@code generation_config.json}.
 *
 * @param length {@code max_new_tokens}, {@code max_length}, {@code min_new_tokens}, {@code
 *     min_length}
 * @param sampling {@code do_sample} and what shapes the distribution it draws from
 * @param beams {@code num_beams}, {@code num_return_sequences}, {@code length_penalty}, {@code
 *     early_stopping}
 * @param penalties {@code repetition_penalty}, {@code no_repeat_ngram_size}
 * @param tokens token ids with a meaning
 * @param stopStrings {@code stop_strings}: a text ends where it contains one of them
 * @param seed {@code seed} of the sampling, which is not part of Hugging Face's file
 */
public record GenerationConfig(
    Length length,
    Sampling sampling,
    Beams beams,
    Penalties penalties,
    Tokens tokens,
    List<String> stopStrings,
    long seed) {

  public GenerationConfig {
    stopStrings = List.copyOf(stopStrings);
    if (sampling.doSample() && beams.numBeams() > 1) {
      throw new ConfigException(
          "generation.num_beams", "sampling from beams is not supported; use num_beams 1");
    }
    if (!sampling.doSample() && beams.numReturnSequences() > beams.numBeams()) {
      throw new ConfigException(
          "generation.num_return_sequences",
          "must be at most num_beams, "
              + beams.numBeams()
              + ", unless do_sample is true; got "
              + beams.numReturnSequences());
    }
  }

  /**
   * How long a text gets.
   *
   * @param maxNewTokens most new tokens; 0 for what {@code maxLength} leaves
   * @param maxLength most tokens with the prompt; used when {@code maxNewTokens} is 0; default 20
   * @param minNewTokens new tokens before the text may end; default 0
   * @param minLength tokens with the prompt before the text may end; default 0
   */
  public record Length(int maxNewTokens, int maxLength, int minNewTokens, int minLength) {
    public Length {
      require(maxNewTokens > 0 || maxLength > 0, "max_new_tokens", "above 0", maxNewTokens);
    }

    /**
     * Most new tokens after a prompt.
     *
     * @throws ConfigException if {@code maxLength} leaves none
     */
    int budget(int prompt) {
      if (maxNewTokens > 0) {
        return maxNewTokens;
      }
      if (maxLength <= prompt) {
        throw new ConfigException(
            "generation.max_length",
            maxLength
                + " leaves no room after a prompt of "
                + prompt
                + " tokens; set max_new_tokens");
      }
      return maxLength - prompt;
    }
  }

  /**
   * What tokens are drawn from.
   *
   * @param doSample whether to draw at all; else the likeliest token is taken and nothing here
   *     applies; default false
   * @param temperature divides the logits; default 1
   * @param topK keeps so many of the likeliest tokens; 0 for all; default 50
   * @param topP keeps the likeliest tokens up to this sum; default 1
   * @param minP keeps tokens at least so likely, as a part of the likeliest; default 0
   * @param typicalP keeps the most typical tokens up to this sum (Meister et al. 2022); default 1
   * @param epsilonCutoff keeps tokens at least so likely; default 0
   * @param etaCutoff as that, less where the entropy is high (Hewitt et al. 2022); default 0
   */
  public record Sampling(
      boolean doSample,
      double temperature,
      int topK,
      double topP,
      double minP,
      double typicalP,
      double epsilonCutoff,
      double etaCutoff) {
    public Sampling {
      require(temperature > 0 && temperature < 1e6, "temperature", "above 0", temperature);
      require(topP > 0 && topP <= 1, "top_p", "above 0 and at most 1", topP);
      require(minP >= 0 && minP <= 1, "min_p", "from 0 to 1", minP);
      require(typicalP > 0 && typicalP <= 1, "typical_p", "above 0 and at most 1", typicalP);
      require(
          epsilonCutoff >= 0 && epsilonCutoff < 1,
          "epsilon_cutoff",
          "from 0 to below 1",
          epsilonCutoff);
      require(etaCutoff >= 0 && etaCutoff < 1, "eta_cutoff", "from 0 to below 1", etaCutoff);
    }
  }

  /** When a beam search ends before the longest text. */
  public enum EarlyStopping {
    /** When no text in progress, at its present length, is better than the worst finished one. */
    FALSE,
    /** As soon as there are as many finished texts as beams. */
    TRUE,
    /** When no text in progress can become better than the worst finished one. */
    NEVER
  }

  /**
   * Beam search.
   *
   * @param numBeams texts in progress; 1 for none; default 1
   * @param numReturnSequences texts for each prompt; default 1
   * @param lengthPenalty power of a text's length that its score is divided by; default 1
   * @param earlyStopping default {@code FALSE}
   */
  public record Beams(
      int numBeams, int numReturnSequences, double lengthPenalty, EarlyStopping earlyStopping) {
    public Beams {
      require(numBeams >= 1, "num_beams", "at least 1", numBeams);
      require(numReturnSequences >= 1, "num_return_sequences", "at least 1", numReturnSequences);
      require(Double.isFinite(lengthPenalty), "length_penalty", "finite", lengthPenalty);
    }
  }

  /**
   * Against repetition.
   *
   * @param repetitionPenalty makes tokens of the text so far less likely (Keskar et al. 2019);
   *     default 1, for none
   * @param noRepeatNgramSize length of runs of tokens that may not occur twice; default 0, for none
   */
  public record Penalties(double repetitionPenalty, int noRepeatNgramSize) {
    public Penalties {
      require(repetitionPenalty > 0, "repetition_penalty", "above 0", repetitionPenalty);
    }
  }

  /**
   * Token ids with a meaning.
   *
   * @param eos end a text; none when empty
   * @param pad fills up shorter prompts
   * @param decoderStart what the decoder of an encoder-decoder starts from
   * @param forcedBos the first new token of an encoder-decoder
   * @param forcedEos the last token of a text that would get too long
   * @param suppress never generated
   * @param beginSuppress not generated first
   */
  public record Tokens(
      List<Integer> eos,
      OptionalInt pad,
      OptionalInt decoderStart,
      OptionalInt forcedBos,
      List<Integer> forcedEos,
      List<Integer> suppress,
      List<Integer> beginSuppress) {
    public Tokens {
      eos = List.copyOf(eos);
      forcedEos = List.copyOf(forcedEos);
      suppress = List.copyOf(suppress);
      beginSuppress = List.copyOf(beginSuppress);
    }
  }

  /**
   * Settings by their Hugging Face names, for example {@code Map.of("max_new_tokens", 20)}; the
   * rest has its default.
   *
   * @throws ConfigException naming a setting that is unknown, not supported or out of range
   */
  public static GenerationConfig of(Map<String, ?> settings) {
    return GenerationReader.read(settings);
  }

  /**
   * A model's settings, with some replaced: those of {@code generation_config.json}, where there is
   * none those of {@code config.json}.
   *
   * @throws ConfigException naming a setting that is unknown, not supported or out of range
   */
  public static GenerationConfig of(ModelDirectory directory, Map<String, ?> replaced) {
    return GenerationReader.read(directory, replaced);
  }

  private static void require(boolean ok, String key, String wanted, Number got) {
    if (!ok) {
      throw new ConfigException("generation." + key, "must be " + wanted + ", got " + got);
    }
  }
}
