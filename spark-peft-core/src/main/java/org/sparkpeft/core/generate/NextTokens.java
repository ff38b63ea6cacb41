package org.sparkpeft.core.generate;

import java.util.List;

/** Texts in progress and what may come next in each. */
interface NextTokens extends AutoCloseable {

  /** Logits of each text's next token, {@code [texts][vocabulary]}. */
  float[][] next();

  /**
   * Replaces the texts by continuations of some of them.
   *
   * @param from for each text from now on, the row it continues
   * @param longer the texts with their new token
   */
  void go(int[] from, List<int[]> longer);

  @Override
  void close();
}
