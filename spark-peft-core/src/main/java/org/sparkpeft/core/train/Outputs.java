package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.index.NDIndex;
import java.util.function.UnaryOperator;

/**
 * What a model says of a batch, up to its last layers: the scores of all words for all tokens of a
 * batch may be larger than everything else, and an objective need not have them all at once.
 *
 * @param features what the head reads, {@code [batch, hidden]} or {@code [batch, seq, hidden]}
 * @param head from features to outputs, each token by itself
 * @param words outputs of a token in a language model, else 0
 */
record Outputs(NDArray features, UnaryOperator<NDArray> head, int words) {

  /** Outputs that have no head, or are behind it. */
  static Outputs of(NDArray outputs) {
    return new Outputs(outputs, UnaryOperator.identity(), 0);
  }

  /** All outputs, {@code [batch, outputs]} or {@code [batch, seq, outputs]}. */
  NDArray all() {
    return head.apply(features);
  }

  /**
   * Those of some tokens of every example.
   *
   * @param features {@code [batch, seq, hidden]}
   * @return {@code [batch, tokens of the span, outputs]}
   */
  NDArray of(NDArray features, Span span) {
    return head.apply(features.get(new NDIndex(":, {}:{}", span.from(), span.to())));
  }
}
