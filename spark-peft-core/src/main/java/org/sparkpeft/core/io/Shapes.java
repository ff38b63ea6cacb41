package org.sparkpeft.core.io;

import java.util.List;

/** Arithmetic on shapes that come from files. */
final class Shapes {
  private Shapes() {}

  /**
   * Number of elements; 1 for a scalar.
   *
   * @throws ArithmeticException if it exceeds 63 bits
   * @throws IllegalArgumentException if a dimension is negative
   */
  static long count(List<Integer> shape) {
    long count = 1;
    for (int dimension : shape) {
      if (dimension < 0) {
        throw new IllegalArgumentException("dimensions must be 0 or more, got " + shape);
      }
      count = Math.multiplyExact(count, (long) dimension);
    }
    return count;
  }
}
