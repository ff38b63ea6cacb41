package org.sparkpeft.core.model;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/** Token sequences padded to the longest of them. Plain Java; labels are kept apart. */
public final class TokenBatch implements ModelInput {
  private final int[][] inputIds;
  private final int[][] tokenTypes;
  private final int[] lengths;
  private final int width;
  private final int[] tasks;
  private final boolean leftPadded;
  private final int[][] positions;
  private final int[][] documents;
  private final Optional<TokenBatch> target;

  private TokenBatch(
      int[][] inputIds,
      int[][] tokenTypes,
      int[] lengths,
      int width,
      int[] tasks,
      boolean leftPadded,
      int[][] positions,
      int[][] documents,
      Optional<TokenBatch> target) {
    this.inputIds = inputIds;
    this.tokenTypes = tokenTypes;
    this.lengths = lengths;
    this.width = width;
    this.tasks = tasks;
    this.leftPadded = leftPadded;
    this.positions = positions;
    this.documents = documents;
    this.target = target;
  }

  /**
   * Sequences padded on the right.
   *
   * @param sequences one array of token ids for each example, none empty
   * @param padId the token that fills up shorter rows
   */
  public static TokenBatch of(List<int[]> sequences, int padId) {
    return of(sequences, List.of(), padId);
  }

  /**
   * Sequences padded on the right.
   *
   * @param types the segment of each token, as long as its sequence; empty when all tokens are of
   *     segment 0
   */
  public static TokenBatch of(List<int[]> sequences, List<int[]> types, int padId) {
    return padded(sequences, types, padId, false);
  }

  /** Sequences padded on the left, so that all end at the same place, as generation needs. */
  public static TokenBatch leftPadded(List<int[]> sequences, int padId) {
    return padded(sequences, List.of(), padId, true);
  }

  /**
   * The examples of several batches as one, padded on the right to the longest of all.
   *
   * @param parts without segments, given positions and documents, and not padded on the left
   */
  public static TokenBatch joined(List<TokenBatch> parts, int padId) {
    List<int[]> sequences = new ArrayList<>();
    List<Integer> tasks = new ArrayList<>();
    List<TokenBatch> targets = new ArrayList<>();
    for (TokenBatch part : parts) {
      if (part.leftPadded
          || part.tokenTypes.length + part.positions.length + part.documents.length > 0) {
        throw new IllegalArgumentException("only batches of plain tokens can be joined");
      }
      for (int row = 0; row < part.size(); row++) {
        sequences.add(Arrays.copyOf(part.inputIds[row], part.lengths[row]));
        tasks.add(part.tasks[row]);
      }
      part.target.ifPresent(targets::add);
    }
    TokenBatch all =
        of(sequences, padId).withTasks(tasks.stream().mapToInt(Integer::intValue).toArray());
    return targets.isEmpty() ? all : all.withTarget(joined(targets, padId));
  }

  private static TokenBatch padded(
      List<int[]> sequences, List<int[]> types, int padId, boolean left) {
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
      Arrays.fill(ids[i], padId);
      int start = left ? width - lengths[i] : 0;
      System.arraycopy(sequences.get(i), 0, ids[i], start, lengths[i]);
      if (segments.length > 0) {
        System.arraycopy(types.get(i), 0, segments[i], start, lengths[i]);
      }
    }
    return new TokenBatch(
        ids,
        segments,
        lengths,
        width,
        new int[lengths.length],
        left,
        new int[0][],
        new int[0][],
        Optional.empty());
  }

  /**
   * The same tokens with each example's task.
   *
   * @param numbers one for each example, from 0
   */
  public TokenBatch withTasks(int[] numbers) {
    return new TokenBatch(
        inputIds,
        tokenTypes,
        lengths,
        width,
        numbers.clone(),
        leftPadded,
        positions,
        documents,
        target);
  }

  /**
   * The same tokens at given positions instead of those the model counts.
   *
   * @param places {@code [size][width]}, from 0
   */
  public TokenBatch withPositions(int[][] places) {
    requireShape(places, "positions");
    return new TokenBatch(
        inputIds, tokenTypes, lengths, width, tasks, leftPadded, places, documents, target);
  }

  /**
   * The same tokens as several documents packed into each row: a token sees only its own document,
   * and positions start anew with each.
   *
   * @param numbers {@code [size][width]}, the document of each token
   */
  public TokenBatch withDocuments(int[][] numbers) {
    requireShape(numbers, "documents");
    int[][] places = new int[size()][width];
    for (int row = 0; row < size(); row++) {
      for (int t = 1; t < width; t++) {
        boolean same = numbers[row][t] == numbers[row][t - 1];
        places[row][t] = same ? places[row][t - 1] + 1 : 0;
      }
    }
    return new TokenBatch(
        inputIds, tokenTypes, lengths, width, tasks, leftPadded, places, numbers, target);
  }

  /** The same tokens as input of an encoder, whose decoder reads {@code tokens}. */
  public TokenBatch withTarget(TokenBatch tokens) {
    if (tokens.size() != size()) {
      throw new IllegalArgumentException(tokens.size() + " targets for " + size() + " examples");
    }
    return new TokenBatch(
        inputIds,
        tokenTypes,
        lengths,
        width,
        tasks,
        leftPadded,
        positions,
        documents,
        Optional.of(tokens));
  }

  /**
   * Some of the examples, in any order, any of them several times; still padded to this width.
   *
   * @param rows numbers of the examples
   */
  public TokenBatch rows(int[] rows) {
    return new TokenBatch(
        picked(inputIds, rows),
        picked(tokenTypes, rows),
        Arrays.stream(rows).map(row -> lengths[row]).toArray(),
        width,
        Arrays.stream(rows).map(row -> tasks[row]).toArray(),
        leftPadded,
        picked(positions, rows),
        picked(documents, rows),
        target.map(batch -> batch.rows(rows)));
  }

  private static int[][] picked(int[][] values, int[] rows) {
    return values.length == 0
        ? values
        : Arrays.stream(rows).mapToObj(row -> values[row]).toArray(int[][]::new);
  }

  private void requireShape(int[][] rows, String what) {
    if (rows.length != size() || Arrays.stream(rows).anyMatch(row -> row.length != width)) {
      throw new IllegalArgumentException(what + " must be " + size() + " x " + width);
    }
  }

  @Override
  public int task(int row) {
    return tasks[row];
  }

  @Override
  public int size() {
    return lengths.length;
  }

  /** Length of the longest example, to which all rows are padded. */
  @Override
  public int width() {
    return width;
  }

  /** Tokens of example {@code row} before padding. */
  @Override
  public int length(int row) {
    return lengths[row];
  }

  /** Where the tokens of example {@code row} begin: 0 unless padded on the left. */
  public int start(int row) {
    return leftPadded ? width - lengths[row] : 0;
  }

  @Override
  public boolean isPadded() {
    for (int length : lengths) {
      if (length < width) {
        return true;
      }
    }
    return false;
  }

  public boolean isLeftPadded() {
    return leftPadded && isPadded();
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

  /** Position of each token, {@code [size][width]}; empty when the model counts them itself. */
  public Optional<int[][]> positions() {
    return positions.length == 0 ? Optional.empty() : Optional.of(positions);
  }

  /** Document of each token, {@code [size][width]}; empty when each row is one. */
  public Optional<int[][]> documents() {
    return documents.length == 0 ? Optional.empty() : Optional.of(documents);
  }

  /** What the decoder of an encoder-decoder reads. */
  public Optional<TokenBatch> target() {
    return target;
  }

  private int[] flatten(int[][] rows) {
    int[] flat = new int[rows.length * width];
    for (int i = 0; i < rows.length; i++) {
      System.arraycopy(rows[i], 0, flat, i * width, width);
    }
    return flat;
  }

  /** Number of tokens without padding, a decoder's included. */
  public long tokens() {
    long sum = target.map(TokenBatch::tokens).orElse(0L);
    for (int length : lengths) {
      sum += length;
    }
    return sum;
  }
}
