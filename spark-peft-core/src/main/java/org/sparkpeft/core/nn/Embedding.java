package org.sparkpeft.core.nn;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.SparseFormat;

/**
 * Rows of a table.
 *
 * @param path Hugging Face's path of the module
 * @param weight {@code [rows, size]}
 */
public record Embedding(String path, Weight weight) {

  /** With a table in float32. */
  public Embedding(String path, NDArray weight) {
    this(path, Weight.of(weight));
  }

  /**
   * @param ids integers {@code [batch, seq]}
   * @return {@code [batch, seq, size]}
   */
  public NDArray apply(NDArray ids) {
    return weight.rows(ids);
  }

  /** Rows {@code ids} of {@code weight}; the result belongs to {@code ids}' manager. */
  public static NDArray of(NDArray ids, NDArray weight) {
    return ids.getNDArrayInternal().embedding(ids, weight, SparseFormat.DENSE).singletonOrThrow();
  }
}
