package org.sparkpeft.core.generate;

import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Function;

/** When a text is finished. */
final class Ending {
  private final Set<Integer> eos;
  private final List<String> stopStrings;
  private final Function<int[], String> decode;

  /**
   * @param decode text of new tokens; used only where there are stop strings
   */
  Ending(GenerationConfig config, Function<int[], String> decode) {
    this.eos = new HashSet<>(config.tokens().eos());
    this.stopStrings = config.stopStrings();
    this.decode = decode;
  }

  boolean reached(LogitsProcessor.Text text) {
    int[] tokens = text.tokens();
    if (text.fresh() >= text.budget() || eos.contains(tokens[tokens.length - 1])) {
      return true;
    }
    if (stopStrings.isEmpty()) {
      return false;
    }
    String words = decode.apply(Arrays.copyOfRange(tokens, text.prompt(), tokens.length));
    return stopStrings.stream().anyMatch(words::contains);
  }
}
