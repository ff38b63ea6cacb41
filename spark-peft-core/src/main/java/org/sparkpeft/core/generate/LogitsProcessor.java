package org.sparkpeft.core.generate;

/** One change of the scores of the next token. */
@FunctionalInterface
interface LogitsProcessor {

  /**
   * A text in progress.
   *
   * @param tokens the prompt and what was generated; for an encoder-decoder, the decoder's
   * @param prompt tokens of it that were given
   * @param budget most new tokens
   */
  record Text(int[] tokens, int prompt, int budget) {
    int fresh() {
      return tokens.length - prompt;
    }

    Text with(int token) {
      int[] longer = java.util.Arrays.copyOf(tokens, tokens.length + 1);
      longer[tokens.length] = token;
      return new Text(longer, prompt, budget);
    }
  }

  /**
   * Changes the scores of the next token.
   *
   * @param scores logits, or logarithms of probabilities, by token; changed in place, excluded
   *     tokens to negative infinity
   */
  void apply(Text text, float[] scores);
}
