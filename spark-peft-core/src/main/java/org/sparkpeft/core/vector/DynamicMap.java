package org.sparkpeft.core.vector;

import java.util.Arrays;

/**
 * The signed 8-bit dynamic data type (Dettmers 2015, arXiv 1511.04561) as bitsandbytes has it: 256
 * values in [-0.993, 1] whose spacing shrinks with their size, with exact 0 and 1.
 */
public final class DynamicMap {
  private static final int EXPONENTS = 7;
  private static final float[] VALUES = values();

  private DynamicMap() {}

  /** The values, ascending. */
  public static float[] table() {
    return VALUES.clone();
  }

  private static float[] values() {
    float[] values = new float[256];
    int count = 0;
    for (int i = 0; i < EXPONENTS; i++) {
      int points = (1 << i) + 1;
      float scale = (float) Math.pow(10, i - EXPONENTS + 1);
      for (int j = 0; j + 1 < points; j++) {
        float mean = (point(j, points) + point(j + 1, points)) / 2;
        values[count++] = scale * mean;
        values[count++] = -scale * mean;
      }
    }
    values[count++] = 0;
    values[count++] = 1;
    if (count != values.length) {
      throw new IllegalStateException("the dynamic map has " + count + " values");
    }
    Arrays.sort(values);
    return values;
  }

  /** Evenly spaced from 0.1 to 1, counted from the nearer end. */
  private static float point(int index, int points) {
    float step = (1 - 0.1f) / (points - 1);
    return index < points / 2 ? 0.1f + step * index : 1 - step * (points - 1 - index);
  }

  /**
   * Codes of the nearest values; a tie goes to the lower one.
   *
   * @param scaled in [-1, 1]
   * @param table ascending
   */
  static int code(float scaled, float[] table) {
    int low = 0;
    int high = table.length - 1;
    while (low < high) { // number of midpoints strictly below
      int middle = (low + high) >>> 1;
      if (scaled > (table[middle] + table[middle + 1]) / 2) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
}
