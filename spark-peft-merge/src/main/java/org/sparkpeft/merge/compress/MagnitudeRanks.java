package org.sparkpeft.merge.compress;

import java.util.Arrays;

/** Puts the values of a row in the order of their magnitudes. */
final class MagnitudeRanks {
  private static final int DIGITS = 4;
  private static final int RADIX = 256;

  /** From here on sorting by digits takes a fraction of the time of comparing. */
  private static final int LEAST_BY_DIGITS = 128;

  private MagnitudeRanks() {}

  /**
   * Indices, counted from {@code from}, of {@code values[from..from + n)}: smallest magnitude
   * first, of equal ones the last first.
   */
  static int[] ascending(float[] values, int from, int n) {
    int[] keys = new int[n];
    int[] order = new int[n];
    for (int i = 0; i < n; i++) {
      keys[i] = Float.floatToRawIntBits(values[from + n - 1 - i]) & 0x7fffffff;
      order[i] = n - 1 - i;
    }
    if (n < LEAST_BY_DIGITS) {
      byComparing(keys, order);
      return order;
    }
    return byDigits(keys, order);
  }

  private static void byComparing(int[] keys, int[] order) {
    int n = keys.length;
    long[] both = new long[n];
    for (int i = 0; i < n; i++) {
      both[i] = (long) keys[i] << 32 | i;
    }
    Arrays.sort(both);
    for (int i = 0; i < n; i++) {
      order[i] = n - 1 - (int) both[i];
    }
  }

  /** Least digit first; each pass keeps the order of equal digits. */
  private static int[] byDigits(int[] keys, int[] order) {
    int n = keys.length;
    int[][] ends = new int[DIGITS][RADIX];
    for (int key : keys) {
      for (int digit = 0; digit < DIGITS; digit++) {
        ends[digit][key >>> 8 * digit & RADIX - 1]++;
      }
    }
    int[] fromKeys = keys;
    int[] fromOrder = order;
    int[] toKeys = new int[n];
    int[] toOrder = new int[n];
    for (int digit = 0; digit < DIGITS; digit++) {
      int[] places = ends[digit];
      int sum = 0;
      for (int b = 0; b < RADIX; b++) {
        int count = places[b];
        places[b] = sum;
        sum += count;
      }
      for (int i = 0; i < n; i++) {
        int key = fromKeys[i];
        int place = places[key >>> 8 * digit & RADIX - 1]++;
        toKeys[place] = key;
        toOrder[place] = fromOrder[i];
      }
      int[] keysBefore = fromKeys;
      int[] orderBefore = fromOrder;
      fromKeys = toKeys;
      fromOrder = toOrder;
      toKeys = keysBefore;
      toOrder = orderBefore;
    }
    return fromOrder;
  }
}
