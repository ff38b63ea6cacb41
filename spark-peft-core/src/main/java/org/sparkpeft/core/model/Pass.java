package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.Objects;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.engine.LayerScope;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.nn.Norm;

/**
 * One forward pass.
 *
 * @param step owner of everything the pass makes
 * @param tuning what a task trained, or nothing
 * @param cache what a decoder has read before, or nothing
 * @param prompted whether virtual tokens go in front of the tokens: not in a decoder whose encoder
 *     has them
 */
record Pass(NDManager step, Tuning tuning, KeyValueCache cache, boolean prompted) {

  Pass(NDManager step, Tuning tuning, KeyValueCache cache) {
    this(step, tuning, cache, true);
  }

  /** The encoder's part of an encoder-decoder's pass. */
  Pass ofEncoder() {
    return new Pass(step, tuning, KeyValueCache.NONE, true);
  }

  /** The decoder's part of an encoder-decoder's pass. */
  Pass ofDecoder() {
    return new Pass(step, tuning, cache, false);
  }

  private Pass within(NDManager scratch) {
    return new Pass(scratch, tuning, cache, prompted);
  }

  /** What a layer computes. */
  interface Layer {
    /**
     * @param pass owner of what the layer makes
     * @param x {@code [batch, seq, hidden]}
     * @return the stream after the layer
     */
    NDArray apply(Pass pass, NDArray x);
  }

  /**
   * Runs a layer, as every layer of every architecture runs, so that memory keeps of it what the
   * backward pass needs and nothing else.
   *
   * @param x the stream before the layer; nobody's afterwards
   */
  NDArray layer(NDArray x, Layer layer) {
    return LayerScope.run(step, x, (scratch, in) -> layer.apply(within(scratch), in));
  }

  /**
   * Runs what is not a layer, such as the embeddings, and keeps of it the result and what the
   * backward pass needs.
   */
  NDArray part(Function<Pass, NDArray> part) {
    return LayerScope.run(step, scratch -> part.apply(within(scratch)));
  }

  NDArray linear(Linear layer, NDArray x) {
    return tuning.linear(layer, x);
  }

  NDArray embedding(Embedding layer, NDArray ids) {
    return tuning.embedding(layer, ids);
  }

  NDArray norm(Norm layer, NDArray x) {
    return tuning.layerNorm(layer, x);
  }

  /**
   * Word embeddings, with virtual tokens in front where a text begins.
   *
   * @param ids {@code [batch, seq]}
   * @return {@code [batch, virtual tokens + seq, size]}
   */
  NDArray embedded(Embedding words, NDArray ids) {
    return withPrompt(tuning.embedding(words, ids));
  }

  /** {@code [batch, seq, size]} with virtual tokens in front where a text begins. */
  NDArray withPrompt(NDArray rows) {
    return prompted && cache.length() == 0 ? tuning.inputEmbeddings(rows) : rows;
  }

  /**
   * Refuses virtual tokens where word embeddings and states differ in size.
   *
   * @param words size of a word embedding
   * @param hidden size of a state
   */
  static void requireVirtualTokensFit(Tuning tuning, int words, int hidden) {
    if (words != hidden && tuning.virtualTokens() > 0) {
      throw new ConfigException(
          "peft",
          "virtual tokens need word embeddings as large as the states; this model's have "
              + words
              + " entries and its states "
              + hidden
              + "; choose a method that acts on layers, such as lora");
    }
  }

  /** Length of the trained prefix, where a text begins. */
  int prefixLength() {
    return cache.length() > 0 ? 0 : tuning.prefixLength();
  }

  /** Positions in front of the new tokens' keys: read before, or a trained prefix. */
  int offset() {
    return cache.length() > 0 ? cache.length() : tuning.prefixLength();
  }

  /** Virtual tokens in front of the new ones: only where a text begins. */
  int virtualTokens() {
    return cache.length() > 0 ? 0 : promptLength();
  }

  /** Virtual tokens in front of the text. */
  int promptLength() {
    return prompted ? tuning.virtualTokens() : 0;
  }

  /**
   * Keys and values of an attention block over everything that came before, and the new ones.
   *
   * @param path path of the block's key projection
   * @param keys {@code [batch, new, size]}
   * @param values {@code [batch, new, size]}
   */
  Tuning.KeyValue past(String path, NDArray keys, NDArray values) {
    NDArray k = keys;
    NDArray v = values;
    if (cache.length() == 0) {
      var prefix = tuning.prefix(path, keys.getShape().get(0));
      if (prefix.isPresent()) {
        k = inFront(prefix.get().keys(), k);
        v = inFront(prefix.get().values(), v);
      }
    }
    return cache.extend(path, k, v);
  }

  private static NDArray inFront(NDArray prefix, NDArray states) {
    NDArray all = prefix.concat(states, 1);
    all.attach(states.getManager());
    return all;
  }

  /**
   * Keys and values of an encoder's states, kept by the cache.
   *
   * @param encoded {@code [batch, source, size]}; null when the cache has kept them
   */
  Tuning.KeyValue memory(Linear key, Linear value, @Nullable NDArray encoded) {
    Tuning.KeyValue kept = cache.kept(key.path());
    if (kept != null) {
      return kept;
    }
    NDArray states = Objects.requireNonNull(encoded, "nothing was kept of the encoder");
    Tuning.KeyValue fresh = new Tuning.KeyValue(linear(key, states), linear(value, states));
    fresh.keys().attach(step);
    fresh.values().attach(step);
    cache.keep(key.path(), fresh);
    return fresh;
  }
}
