package org.sparkpeft.federated.aggregate;

import java.util.BitSet;
import org.sparkpeft.core.vector.TaskVector;

/** Partial sums of a round: a commutative monoid. Not thread-safe. */
public interface Accumulator {

  /**
   * Adds one client's update.
   *
   * @param numExamples the client's examples, at least 1
   * @throws UnusableUpdateException if an entry is not finite or larger than {@link
   *     FixedPoint#MAX_MAGNITUDE}; nothing is added then
   */
  void add(TaskVector update, long numExamples);

  /**
   * Adds the update of a client that did not train everything. Where a rule takes a mean, that of a
   * part is over the clients that trained it; sums and votes by entry need not know, since an entry
   * that was not trained is 0.
   *
   * @param trained which of {@link Aggregator.Cohort#parts}
   * @throws UnusableUpdateException as above
   */
  default void add(TaskVector update, long numExamples, BitSet trained) {
    add(update, numExamples);
  }

  /** Joins the sums of another accumulator of the same kind, layout and cohort. */
  void merge(Accumulator other);

  /** Number of updates added. */
  int count();

  /**
   * The combined update.
   *
   * @throws IllegalStateException if nothing was added
   */
  TaskVector result();

  /** The sums as bytes, little-endian, for {@link Aggregator#fromBytes}. */
  byte[] toBytes();
}
