package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.nn.Linear;

/** What the distance between two tokens adds to the scores of an encoder's attention. */
interface PositionScores {
  /** Nothing: positions act through embeddings alone. */
  PositionScores NONE = (step, tuning, queries, keys) -> (query, key, q, k) -> null;

  /**
   * Begins a forward pass.
   *
   * @param queries tokens
   * @param keys tokens, and a prefix in front of them
   */
  Layers start(NDManager step, Tuning tuning, int queries, int keys);

  /** The scores of a pass, layer after layer. */
  interface Layers {
    /**
     * What is added to the scores of one layer.
     *
     * @param query a layer's query projection
     * @param key its key projection
     * @param q queries {@code [batch, queries, hidden]}
     * @param k keys {@code [batch, keys, hidden]}
     * @return {@code [1 or batch, heads, queries, keys]} to be added to the scores, or null
     */
    @Nullable NDArray of(Linear query, Linear key, NDArray q, NDArray k);
  }
}
