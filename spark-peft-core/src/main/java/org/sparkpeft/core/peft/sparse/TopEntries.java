package org.sparkpeft.core.peft.sparse;

/**
 * The entries with the largest scores of a stream, of which no more than those are ever held: a
 * heap with the worst in front. Of equal scores the lower index is better.
 */
final class TopEntries {
  private final double[] scores;
  private final int[] indices;
  private int size;

  /**
   * @param count most entries to hold
   */
  TopEntries(int count) {
    this.scores = new double[count];
    this.indices = new int[count];
  }

  /** Whether no entry with such a score, nor with a lower one, would be taken any more. */
  boolean refuses(double score) {
    return size == scores.length && (size == 0 || score <= scores[0]);
  }

  /**
   * @param index higher than those offered before
   */
  void offer(double score, int index) {
    if (size < scores.length) {
      int at = size++;
      while (at > 0 && isWorse(score, index, (at - 1) / 2)) {
        move((at - 1) / 2, at);
        at = (at - 1) / 2;
      }
      scores[at] = score;
      indices[at] = index;
    } else if (!refuses(score)) {
      sink(score, index);
    }
  }

  /** Puts an entry in the place of the worst. */
  private void sink(double score, int index) {
    int at = 0;
    for (int child = 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && isWorse(scores[child + 1], indices[child + 1], child)) {
        child++;
      }
      if (isWorse(score, index, child)) {
        break;
      }
      move(child, at);
      at = child;
    }
    scores[at] = score;
    indices[at] = index;
  }

  private boolean isWorse(double score, int index, int than) {
    return score < scores[than] || (score == scores[than] && index > indices[than]);
  }

  private void move(int from, int to) {
    scores[to] = scores[from];
    indices[to] = indices[from];
  }

  /** Takes all entries out, the best first. */
  int[] take() {
    int[] taken = new int[size];
    while (size > 0) {
      taken[size - 1] = indices[0];
      double score = scores[size - 1];
      int index = indices[size - 1];
      size--;
      if (size > 0) {
        sink(score, index);
      }
    }
    return taken;
  }
}
