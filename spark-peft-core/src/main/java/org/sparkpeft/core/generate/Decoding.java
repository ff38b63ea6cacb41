package org.sparkpeft.core.generate;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.model.Backbone;
import org.sparkpeft.core.model.KeyValueCache;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.model.Tuning;

/** Texts in progress, as the model reads them: all in one batch, each token once. */
final class Decoding implements NextTokens {
  private final Backbone model;
  private final Tuning tuning;
  private final ComputeDevice device;
  private final int padId;
  private final NDManager manager;
  private final KeyValueCache cache;
  private Optional<TokenBatch> source;
  private List<int[]> texts;

  /**
   * @param source what the encoder reads, one row for each text, if there is one
   * @param texts what the decoder has read before the first new token
   * @param cached whether to keep keys and values; else all is read again for each token
   */
  Decoding(
      Backbone model,
      Tuning tuning,
      ComputeDevice device,
      int padId,
      Optional<TokenBatch> source,
      List<int[]> texts,
      boolean cached) {
    this.model = model;
    this.tuning = tuning;
    this.device = device;
    this.padId = padId;
    this.source = source;
    this.texts = texts;
    this.manager = device.newManager();
    this.cache = cached ? KeyValueCache.open(manager) : KeyValueCache.NONE;
  }

  @Override
  public float[][] next() {
    TokenBatch read = cache.length() == 0 ? allTokens() : lastTokens();
    TokenBatch input = source.map(tokens -> tokens.withTarget(read)).orElse(read);
    try (NDManager step = device.newManager()) {
      NDArray hidden = model.forward(step, input, tuning, cache);
      NDArray last = hidden.get(new NDIndex(":, -1:")); // [texts, 1, hidden]
      NDArray logits = model.logits(model.features(step, last, input, tuning), tuning);
      float[] flat = logits.toFloatArray();
      int vocabulary = flat.length / texts.size();
      float[][] rows = new float[texts.size()][];
      for (int row = 0; row < rows.length; row++) {
        rows[row] = Arrays.copyOfRange(flat, row * vocabulary, (row + 1) * vocabulary);
      }
      return rows;
    }
  }

  /** All tokens, padded on the left; positions count each text's own tokens. */
  private TokenBatch allTokens() {
    TokenBatch batch = TokenBatch.leftPadded(texts, padId);
    int[][] positions = new int[batch.size()][batch.width()];
    for (int row = 0; row < positions.length; row++) {
      for (int i = batch.start(row); i < batch.width(); i++) {
        positions[row][i] = i - batch.start(row);
      }
    }
    return batch.withPositions(positions);
  }

  private TokenBatch lastTokens() {
    List<int[]> last = new ArrayList<>();
    int[][] positions = new int[texts.size()][1];
    for (int row = 0; row < positions.length; row++) {
      int[] text = texts.get(row);
      last.add(new int[] {text[text.length - 1]});
      positions[row][0] = text.length - 1;
    }
    return TokenBatch.of(last, padId).withPositions(positions);
  }

  @Override
  public void go(int[] from, List<int[]> longer) {
    boolean same = from.length == texts.size();
    for (int i = 0; same && i < from.length; i++) {
      same = from[i] == i;
    }
    if (!same) {
      source = source.map(tokens -> tokens.rows(from));
      cache.reorder(from);
    }
    texts = longer;
  }

  @Override
  public void close() {
    cache.close();
    manager.close();
  }
}
