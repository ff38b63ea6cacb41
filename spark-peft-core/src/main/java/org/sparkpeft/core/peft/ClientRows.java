package org.sparkpeft.core.peft;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.nn.Embedding;

/**
 * Which rows of a batch belong to which client: the first client's come first, and so on. Turns
 * what all rows have in common into one block for each client, so that each meets its own factors
 * in a product of blocks. Blocks are as high as the largest; where clients have fewer rows, theirs
 * are filled up, and what comes of the filling is left out again.
 */
public final class ClientRows {
  private final int[] counts;
  private final int rows;
  private final int most;
  private final @Nullable NDArray toBlocks;
  private final @Nullable NDArray toRows;

  private ClientRows(
      int[] counts, int rows, int most, @Nullable NDArray toBlocks, @Nullable NDArray toRows) {
    this.counts = counts;
    this.rows = rows;
    this.most = most;
    this.toBlocks = toBlocks;
    this.toRows = toRows;
  }

  /**
   * Rows of so many clients after each other.
   *
   * @param manager owner of the indices, alive as long as this is used
   * @param counts rows of each client, all at least 1
   */
  public static ClientRows of(NDManager manager, List<Integer> counts) {
    int[] each = counts.stream().mapToInt(Integer::intValue).toArray();
    int rows = Arrays.stream(each).sum();
    int most = Arrays.stream(each).max().orElse(0);
    if (rows == most * each.length) {
      return new ClientRows(each, rows, most, null, null);
    }
    int[] blocks = new int[each.length * most]; // filled up with the batch's first row
    int[] back = new int[rows];
    int row = 0;
    for (int client = 0; client < each.length; client++) {
      for (int i = 0; i < each[client]; i++) {
        blocks[client * most + i] = row;
        back[row++] = client * most + i;
      }
    }
    return new ClientRows(each, rows, most, manager.create(blocks), manager.create(back));
  }

  /** Number of clients. */
  public int clients() {
    return counts.length;
  }

  /** First row of each client but the first: where to split the rows. */
  public long[] starts() {
    long[] starts = new long[counts.length - 1];
    long row = 0;
    for (int client = 0; client < starts.length; client++) {
      row += counts[client];
      starts[client] = row;
    }
    return starts;
  }

  /**
   * One block for each client.
   *
   * @param x {@code [rows, ..., size]}
   * @return {@code [clients, entries, size]}, the entries being those of all dimensions between
   * @throws IllegalArgumentException if the first dimension is not that of the batch
   */
  public NDArray blocks(NDArray x) {
    Shape shape = x.getShape();
    if (shape.dimension() < 2 || shape.get(0) != rows) {
      throw new IllegalArgumentException(
          "a layer that clients share must see one row for each of the "
              + rows
              + " texts, got "
              + shape);
    }
    long size = shape.get(shape.dimension() - 1);
    return gathered(x, toBlocks).reshape(clients(), -1, size);
  }

  /**
   * The rows of the batch again.
   *
   * @param blocks {@code [clients, entries, size]}
   * @param like shape of what {@link #blocks} was given; the last dimension may differ
   * @return {@code [rows, ..., size]}
   */
  public NDArray rows(NDArray blocks, Shape like) {
    long[] shape = like.getShape().clone();
    shape[shape.length - 1] = blocks.getShape().get(2);
    if (toRows == null) {
      return blocks.reshape(shape);
    }
    NDArray rowByRow = blocks.reshape((long) clients() * most, -1);
    return Embedding.of(toRows, rowByRow).reshape(shape);
  }

  private NDArray gathered(NDArray x, @Nullable NDArray indices) {
    return indices == null ? x : Embedding.of(indices, x.reshape(rows, -1));
  }

  /**
   * {@code x Wt} with each client's own weight.
   *
   * @param blocks {@code [clients, entries, in]}
   * @param weights {@code [clients, out, in]}
   * @return {@code [clients, entries, out]}
   */
  public static NDArray product(NDArray blocks, NDArray weights) {
    return blocks.batchMatMul(weights.transpose(0, 2, 1));
  }
}
