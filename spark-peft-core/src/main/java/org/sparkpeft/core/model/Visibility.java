package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.Shape;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.engine.AttentionKernel;

/**
 * Which keys each new token of a decoder sees: those before it and itself, in its own document, not
 * farther back than the window, and no padding.
 *
 * @param mask {@code [1 or batch, 1, new, keys]} to be added to the scores, or null
 * @param causal without a mask: whether later keys are hidden, or nothing is
 */
record Visibility(@Nullable NDArray mask, boolean causal) {
  /** Score added to hidden keys: their weight becomes exactly 0. */
  static final float HIDDEN = -3.4028235e38f;

  /** Every position sees every other. */
  static final Visibility ALL = new Visibility(null, false);

  /**
   * @param window keys a token sees, itself included; 0 for all
   */
  static Visibility causal(Pass pass, TokenBatch batch, int window) {
    int before = pass.offset();
    int fresh = pass.virtualTokens() + batch.width();
    int keys = before + fresh;
    int[] hidden = pass.cache().hiddenKeys(pass, batch);
    boolean plain =
        Arrays.stream(hidden).allMatch(count -> count == 0)
            && batch.documents().isEmpty()
            && (window == 0 || window >= keys);
    if (plain && before == 0) {
      return new Visibility(null, true);
    }
    if (plain && fresh == 1) {
      return new Visibility(null, false);
    }
    int rows = plain || sameForAll(hidden, batch) ? 1 : batch.size();
    float[] mask = new float[rows * fresh * keys];
    int text = keys - batch.width(); // first key that has an id
    int paddedFrom = pass.cache().length() > 0 ? pass.cache().textStart() : text;
    for (int row = 0; row < rows; row++) {
      for (int i = 0; i < fresh; i++) {
        int self = before + i;
        for (int j = 0; j < keys; j++) {
          boolean padding = j >= paddedFrom && j < paddedFrom + hidden[row];
          boolean far = window > 0 && self - j >= window;
          boolean foreign = j >= text && self >= text && foreign(batch, row, self - text, j - text);
          if (j != self && (j > self || padding || far || foreign)) {
            mask[(row * fresh + i) * keys + j] = HIDDEN;
          }
        }
      }
    }
    return new Visibility(pass.step().create(mask, new Shape(rows, 1, fresh, keys)), false);
  }

  private static boolean sameForAll(int[] hidden, TokenBatch batch) {
    return batch.documents().isEmpty()
        && Arrays.stream(hidden).allMatch(count -> count == hidden[0]);
  }

  private static boolean foreign(TokenBatch batch, int row, int a, int b) {
    return batch.documents().map(d -> d[row][a] != d[row][b]).orElse(false);
  }

  /** Attention to the visible keys. */
  NDArray attend(AttentionKernel kernel, NDArray query, Tuning.KeyValue past) {
    if (mask != null) {
      return kernel.apply(query, past.keys(), past.values(), mask);
    }
    return causal
        ? kernel.causal(query, past.keys(), past.values())
        : kernel.apply(query, past.keys(), past.values());
  }

  /**
   * Places of the new tokens, virtual ones included: as the batch says, else counted on from what
   * came before.
   *
   * @return one row for all examples when they are the same, else one for each
   */
  static int[][] positions(Pass pass, TokenBatch batch) {
    int virtual = pass.virtualTokens();
    int fresh = virtual + batch.width();
    if (batch.positions().isEmpty()) {
      return new int[][] {BertModel.countFrom(pass.offset(), fresh)};
    }
    int start = pass.tuning().prefixLength() + pass.tuning().virtualTokens();
    int[][] given = batch.positions().get();
    int[][] places = new int[batch.size()][fresh];
    for (int row = 0; row < places.length; row++) {
      for (int i = 0; i < fresh; i++) {
        places[row][i] =
            i < virtual ? pass.tuning().prefixLength() + i : start + given[row][i - virtual];
      }
    }
    return places;
  }
}
