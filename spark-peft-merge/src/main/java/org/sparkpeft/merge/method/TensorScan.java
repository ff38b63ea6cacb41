package org.sparkpeft.merge.method;

import java.util.function.Consumer;

/** One tensor of all vectors of a merge, to be read in blocks as often as a method needs to. */
public interface TensorScan {
  String name();

  /** Number of entries. */
  long size();

  /** Length of the last dimension: of a row. A tensor of one dimension is one row. */
  int columns();

  /** Number of vectors. */
  int vectors();

  /**
   * What tells a vector from others, {@link VectorIdentity}; the same wherever it stands among
   * them.
   */
  long identity(int vector);

  /**
   * Reads what came with a vector for this tensor.
   *
   * @param step entries that the visitor gets at once, but for the last time; the array is reused
   */
  default void forEachEvidence(int vector, int step, Consumer<float[]> visitor) {
    throw new IllegalStateException(name() + " has no evidence");
  }

  /**
   * Reads the tensor once from its first entry to its last.
   *
   * @param wholeRows whether blocks end at ends of rows
   * @param visitor gets one block after the other; the block is reused
   */
  void forEachBlock(boolean wholeRows, Consumer<Block> visitor);
}
