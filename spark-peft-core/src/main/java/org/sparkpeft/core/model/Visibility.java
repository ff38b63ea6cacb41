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

  /**
   * All keys but those of padding, as an encoder's tokens see each other and a decoder's tokens see
   * them.
   *
   * @param before keys in front of the first token that has an id
   * @throws IllegalArgumentException if documents are packed into the rows
   */
  static Visibility unpadded(Pass pass, TokenBatch batch, int before) {
    if (batch.documents().isPresent()) {
      throw new IllegalArgumentException("an encoder does not read packed documents");
    }
    if (!batch.isPadded()) {
      return new Visibility(null, false);
    }
    int keys = before + batch.width();
    float[] mask = new float[batch.size() * keys];
    for (int row = 0; row < batch.size(); row++) {
      int text = row * keys + before;
      int start = text + batch.start(row);
      Arrays.fill(mask, text, start, HIDDEN);
      Arrays.fill(mask, start + batch.length(row), (row + 1) * keys, HIDDEN);
    }
    return new Visibility(pass.step().create(mask, new Shape(batch.size(), 1, 1, keys)), false);
  }

  /**
   * The same keys with something added to their scores.
   *
   * @param bias {@code [1, heads, new, keys]}
   */
  Visibility plus(Pass pass, NDArray bias) {
    if (mask != null) {
      return new Visibility(bias.add(mask), false);
    }
    if (!causal) {
      return new Visibility(bias, false);
    }
    int length = Math.toIntExact(bias.getShape().get(2)); // as many keys
    float[] later = new float[length * length];
    for (int i = 0; i < length; i++) {
      Arrays.fill(later, i * length + i + 1, (i + 1) * length, HIDDEN);
    }
    NDArray hidden = pass.step().create(later, new Shape(1, 1, length, length));
    return new Visibility(bias.add(hidden), false);
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
    int start = pass.tuning().prefixLength() + pass.promptLength();
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

  /**
   * As {@link #positions}, but padding on the left is not counted: it is at -1, and the first token
   * after it where it would be without.
   */
  static int[][] positionsWithoutPadding(Pass pass, TokenBatch batch) {
    int[][] places = positions(pass, batch);
    int[] hidden = pass.cache().hiddenKeys(pass, batch);
    if (batch.positions().isPresent() || Arrays.stream(hidden).allMatch(count -> count == 0)) {
      return places;
    }
    int virtual = pass.virtualTokens();
    int[] all = places[0];
    int[][] counted = new int[batch.size()][];
    for (int row = 0; row < counted.length; row++) {
      counted[row] = all.clone();
      for (int i = virtual; i < all.length; i++) {
        boolean padding = pass.cache().length() == 0 && i < virtual + hidden[row];
        counted[row][i] = padding ? -1 : all[i] - hidden[row];
      }
    }
    return counted;
  }
}
