package org.sparkpeft.core.model;

import java.util.Arrays;
import java.util.List;

/**
 * Token sequences padded on the right to the longest of them. Plain Java; labels are kept apart.
 */
public final class TokenBatch {
  private final int[][] inputIds;
  private final int[][] tokenTypes;
  private final int[] lengths;
  private final int width;
  private final int[] tasks;

  private TokenBatch(int[][] inputIds, int[][] tokenTypes, int[] lengths, int width, int[] tasks) {
    this.inputIds = inputIds;
    this.tokenTypes = tokenTypes;
    this.lengths = lengths;
    this.width = width;
    this.tasks = tasks;
  }

  /**
   * @param sequences one array of token ids for each example, none empty
   * @param padId the token that fills up shorter rows
   */
  public static TokenBatch of(List<int[]> sequences, int padId) {
    return of(sequences, List.of(), padId);
  }

  /**
   * @param types the segment of each token, as long as its sequence; empty when all tokens are of
   *     segment 0
   */
  public static TokenBatch of(List<int[]> sequences, List<int[]> types, int padId) {
    int width = 0;
    int[] lengths = new int[sequences.size()];
    for (int i = 0; i < lengths.length; i++) {
      lengths[i] = sequences.get(i).length;
      if (lengths[i] == 0) {
        throw new IllegalArgumentException("example " + i + " of the batch has no tokens");
      }
      if (!types.isEmpty() && types.get(i).length != lengths[i]) {
        throw new IllegalArgumentException(
            "example "
                + i
                + " has "
                + lengths[i]
                + " tokens and "
                + types.get(i).length
                + " types");
      }
      width = Math.max(width, lengths[i]);
    }
    int[][] ids = new int[lengths.length][width];
    int[][] segments = new int[types.isEmpty() ? 0 : lengths.length][width];
    for (int i = 0; i < lengths.length; i++) {
      System.arraycopy(sequences.get(i), 0, ids[i], 0, lengths[i]);
      Arrays.fill(ids[i], lengths[i], width, padId);
      if (segments.length > 0) {
        System.arraycopy(types.get(i), 0, segments[i], 0, lengths[i]);
      }
    }
    return new TokenBatch(ids, segments, lengths, width, new int[lengths.length]);
  }

  /**
   * The same tokens with each example's task.
   *
   * @param numbers one for each example, from 0
   */
  public TokenBatch withTasks(int[] numbers) {
    return new TokenBatch(inputIds, tokenTypes, lengths, width, numbers.clone());
  }

  /** Number of the task of example {@code row}, 0 where nobody said. */
  public int task(int row) {
    return tasks[row];
  }

  /** Number of examples. */
  public int size() {
    return lengths.length;
  }

  /** Length of the longest example, to which all rows are padded. */
  public int width() {
    return width;
  }

  /** Tokens of example {@code row} before padding. */
  public int length(int row) {
    return lengths[row];
  }

  /** Whether any row is shorter than the longest. */
  public boolean isPadded() {
    for (int length : lengths) {
      if (length < width) {
        return true;
      }
    }
    return false;
  }

  /** Token ids, row after row. */
  public int[] flatIds() {
    return flatten(inputIds);
  }

  public boolean hasTypes() {
    return tokenTypes.length > 0;
  }

  /** Segments, row after row; empty when all tokens are of segment 0. */
  public int[] flatTypes() {
    return flatten(tokenTypes);
  }

  private int[] flatten(int[][] rows) {
    int[] flat = new int[rows.length * width];
    for (int i = 0; i < rows.length; i++) {
      System.arraycopy(rows[i], 0, flat, i * width, width);
    }
    return flat;
  }

  /** Number of tokens without padding. */
  public long tokens() {
    long sum = 0;
    for (int length : lengths) {
      sum += length;
    }
    return sum;
  }
}
