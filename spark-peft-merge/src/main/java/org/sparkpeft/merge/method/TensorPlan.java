package org.sparkpeft.merge.method;

import java.io.Serializable;

/**
 * How the blocks of one tensor are merged, everything that depends on the whole tensor being known.
 * A pure function of a block and its position, so blocks may be cut anywhere and merged anywhere.
 */
public interface TensorPlan extends Serializable {
  /** Merges a block, whose values are changed; {@code out} gets {@link Block#length} values. */
  void merge(Block block, float[] out);

  /** Whether one worker merges the whole tensor, because {@link #open} is expensive. */
  default boolean wholeTensor() {
    return false;
  }

  /**
   * Called where a piece is merged, before its first block: the plan that does it. What takes much
   * memory is made here, so that it is there for no longer than the piece.
   */
  default TensorPlan open(TensorScan tensor) {
    return this;
  }

  /**
   * Whether the entries of the block {@code [from, from + n)} may come in another order than the
   * tensor's, since each is merged by itself and its place does not count.
   */
  default boolean takesAnyOrder(long from, int n) {
    return false;
  }

  /** Whether blocks must end at ends of rows. */
  boolean wholeRows();
}
