package org.sparkpeft.core.model;

import java.util.ArrayList;
import java.util.List;

/** Checks that the batches of floating inputs share. */
final class ValueRows {
  private ValueRows() {}

  /** The number of values of one example, which must fit an array. */
  static long product(String what, int... sizes) {
    long product = 1;
    for (int size : sizes) {
      if (size < 1) {
        throw new IllegalArgumentException(what + " has a size below 1: " + size);
      }
      product = Math.multiplyExact(product, size);
      if (product > Integer.MAX_VALUE) {
        throw new IllegalArgumentException(what + " has more than 2^31-1 values");
      }
    }
    return product;
  }

  static List<float[]> copied(String what, List<float[]> rows, long values) {
    if (rows.isEmpty()) {
      throw new IllegalArgumentException("a batch needs at least one " + what);
    }
    List<float[]> copies = new ArrayList<>();
    for (int i = 0; i < rows.size(); i++) {
      if (rows.get(i).length != values) {
        throw new IllegalArgumentException(
            what + " " + i + " has " + rows.get(i).length + " values instead of " + values);
      }
      copies.add(rows.get(i).clone());
    }
    return copies;
  }

  static void requireTasks(int[] numbers, int size) {
    if (numbers.length != size) {
      throw new IllegalArgumentException(
          numbers.length + " task numbers for " + size + " examples");
    }
  }
}
