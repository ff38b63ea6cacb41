package org.sparkpeft.core.train;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.random.Philox;

/**
 * Cuts a client's examples into batches. Each pass shuffles them, and, with length buckets, sorts
 * windows of the shuffled order by length, cuts those into batches and shuffles the batches: little
 * padding, and yet an order in which every pass differs.
 */
final class Batching {
  /** Batches in a window that is sorted by length. */
  private static final int WINDOW = 32;

  /** Tokens, with padding, that a batch without gradients holds at most. */
  private static final int EVALUATION_TOKENS = 4096;

  /** Tokens by which lengths in such a batch may differ at least. */
  private static final int MIN_SPREAD = 2;

  /** Samples of a recording that count as a token: what Wav2Vec2 makes a position of. */
  private static final int SAMPLES = 320;

  private Batching() {}

  /** The batches of one pass, as indices of examples. */
  static List<int[]> pass(
      TokenExamples examples, int batchSize, boolean lengthBuckets, boolean pairs, Philox random) {
    int[] order = random.child(0).permutation(examples.size());
    List<int[]> batches = new ArrayList<>();
    int window = lengthBuckets ? Math.multiplyExact(batchSize, WINDOW) : batchSize;
    for (int from = 0; from < order.length; from += window) {
      List<Integer> part = new ArrayList<>();
      for (int i = from; i < Math.min(from + window, order.length); i++) {
        part.add(order[i]);
      }
      if (lengthBuckets) {
        part.sort(Comparator.comparingInt(i -> length(examples, i, pairs)));
      }
      cut(part, batchSize, batches);
    }
    if (!lengthBuckets) {
      return batches;
    }
    List<int[]> shuffled = new ArrayList<>(batches.size());
    for (int i : random.child(1).permutation(batches.size())) {
      shuffled.add(batches.get(i));
    }
    return shuffled;
  }

  private static void cut(List<Integer> part, int batchSize, List<int[]> batches) {
    for (int at = 0; at < part.size(); at += batchSize) {
      batches.add(
          part.subList(at, Math.min(at + batchSize, part.size())).stream()
              .mapToInt(Integer::intValue)
              .toArray());
    }
  }

  private static int length(TokenExamples examples, int index, boolean pairs) {
    int length = positions(examples, index);
    return pairs ? Math.max(length, examples.pair(index).length) : length;
  }

  /** Tokens; 0 for images and recordings of one shape, since none is longer than another. */
  private static int positions(TokenExamples examples, int index) {
    int[] shape = examples.shape(index);
    return shape.length == 1 ? shape[0] / SAMPLES : examples.tokens(index).length;
  }

  /**
   * All examples by length, in batches of at most {@code maxSize} for a forward pass. Pairs are
   * scored against their batch, so these keep their order.
   */
  static List<int[]> forEvaluation(TokenExamples examples, int maxSize, boolean pairs) {
    List<Integer> order = new ArrayList<>();
    for (int i = 0; i < examples.size(); i++) {
      order.add(i);
    }
    List<int[]> batches = new ArrayList<>();
    if (pairs) {
      cut(order, maxSize, batches);
      return batches;
    }
    order.sort(Comparator.comparingInt(i -> length(examples, i, false)));
    int at = 0;
    while (at < order.size()) {
      int end = at + 1;
      // Small batches are nearly as fast as large ones; padding is not.
      int shortest = length(examples, order.get(at), false);
      int longest = shortest + Math.max(MIN_SPREAD, shortest / 4);
      while (end < order.size()
          && end - at < maxSize
          && length(examples, order.get(end), false) <= longest
          && (end - at + 1) * length(examples, order.get(end), false) <= EVALUATION_TOKENS) {
        end++;
      }
      cut(order.subList(at, end), end - at, batches);
      at = end;
    }
    return batches;
  }
}
