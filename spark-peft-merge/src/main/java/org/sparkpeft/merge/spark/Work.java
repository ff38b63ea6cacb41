package org.sparkpeft.merge.spark;

import java.io.Serializable;
import java.util.function.LongConsumer;

/**
 * A function that may travel to another process.
 *
 * @param <T> input
 * @param <R> result
 */
@FunctionalInterface
interface Work<T, R> extends Serializable {
  /**
   * Does the work.
   *
   * @param progress takes how many bytes of results came to be
   */
  R apply(T input, LongConsumer progress);
}
