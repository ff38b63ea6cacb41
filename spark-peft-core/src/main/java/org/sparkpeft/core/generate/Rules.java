package org.sparkpeft.core.generate;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;

/**
 * Changes of scores that hold however the next token is chosen, defined as Hugging Face's {@code
 * LogitsProcessor} classes define them. Padding is no part of a text, so that a text does not
 * depend on those beside it.
 */
final class Rules {
  private Rules() {}

  /** The rules of a configuration, in the order in which Hugging Face applies them. */
  static List<LogitsProcessor> of(GenerationConfig config, boolean encoderDecoder) {
    List<LogitsProcessor> rules = new ArrayList<>();
    GenerationConfig.Tokens tokens = config.tokens();
    if (config.penalties().repetitionPenalty() != 1) {
      rules.add(repetitionPenalty((float) config.penalties().repetitionPenalty()));
    }
    if (config.penalties().noRepeatNgramSize() > 0) {
      rules.add(noRepeatedNgram(config.penalties().noRepeatNgramSize()));
    }
    if (config.length().minLength() > 0 && !tokens.eos().isEmpty()) {
      rules.add(minLength(config.length().minLength(), tokens.eos()));
    }
    if (config.length().minNewTokens() > 0 && !tokens.eos().isEmpty()) {
      rules.add(minNewTokens(config.length().minNewTokens(), tokens.eos()));
    }
    if (encoderDecoder && tokens.forcedBos().isPresent()) {
      rules.add(forced(List.of(tokens.forcedBos().getAsInt()), true));
    }
    if (!tokens.forcedEos().isEmpty()) {
      rules.add(forced(tokens.forcedEos(), false));
    }
    if (!tokens.suppress().isEmpty()) {
      rules.add((text, scores) -> exclude(scores, tokens.suppress()));
    }
    if (!tokens.beginSuppress().isEmpty()) {
      int begin = encoderDecoder && tokens.forcedBos().isPresent() ? 1 : 0;
      rules.add(
          (text, scores) -> {
            if (text.fresh() == begin) {
              exclude(scores, tokens.beginSuppress());
            }
          });
    }
    return rules;
  }

  /** Scores of tokens in the text: divided when above 0, else multiplied. */
  static LogitsProcessor repetitionPenalty(float penalty) {
    return (text, scores) -> {
      BitSet seen = new BitSet(scores.length);
      Arrays.stream(text.tokens()).forEach(seen::set);
      seen.stream()
          .forEach(
              token ->
                  scores[token] =
                      scores[token] < 0 ? scores[token] * penalty : scores[token] / penalty);
    };
  }

  /** Excludes tokens that would end a run of {@code size} tokens that the text already has. */
  static LogitsProcessor noRepeatedNgram(int size) {
    return (text, scores) -> {
      int[] tokens = text.tokens();
      int tail = tokens.length - size + 1; // where the last size - 1 tokens begin
      for (int from = 0; from < tail; from++) {
        if (Arrays.equals(tokens, from, from + size - 1, tokens, tail, tokens.length)) {
          scores[tokens[from + size - 1]] = Float.NEGATIVE_INFINITY;
        }
      }
    };
  }

  static LogitsProcessor minLength(int length, List<Integer> ends) {
    return (text, scores) -> {
      if (text.tokens().length < length) {
        exclude(scores, ends);
      }
    };
  }

  static LogitsProcessor minNewTokens(int length, List<Integer> ends) {
    return (text, scores) -> {
      if (text.fresh() < length) {
        exclude(scores, ends);
      }
    };
  }

  /** Leaves only some tokens: as the first new one, or as the last that fits. */
  private static LogitsProcessor forced(List<Integer> tokens, boolean first) {
    return (text, scores) -> {
      if (text.fresh() == (first ? 0 : text.budget() - 1)) {
        Arrays.fill(scores, Float.NEGATIVE_INFINITY);
        tokens.forEach(token -> scores[token] = 0);
      }
    };
  }

  private static void exclude(float[] scores, List<Integer> tokens) {
    tokens.forEach(token -> scores[token] = Float.NEGATIVE_INFINITY);
  }
}
