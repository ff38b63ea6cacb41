package org.sparkpeft.core.vector;

import java.util.Arrays;

/**
 * The 8-bit dynamic data types (Dettmers 2015, arXiv 1511.04561) as bitsandbytes has them: 256
 * values in [-0.993, 1], or in [0, 1], whose spacing shrinks with their size, with exact 0 and 1.
 */
public final class DynamicMap {
  private static final int EXPONENTS = 7;
  private static final float[] VALUES = values(true);
  private static final float[] UNSIGNED = values(false);

  private DynamicMap() {}

  /** The signed values, ascending. */
  public static float[] table() {
    return VALUES.clone();
  }

  /** The values from 0 to 1, ascending: twice as dense. */
  public static float[] unsignedTable() {
    return UNSIGNED.clone();
  }

  private static float[] values(boolean signed) {
    float[] values = new float[256];
    int count = 0;
    for (int i = 0; i < EXPONENTS; i++) {
      int points = (1 << (signed ? i : i + 1)) + 1;
      float scale = (float) Math.pow(10, i - EXPONENTS + 1);
      for (int j = 0; j + 1 < points; j++) {
        float mean = (point(j, points) + point(j + 1, points)) / 2;
        values[count++] = scale * mean;
        if (signed) {
          values[count++] = -scale * mean;
        }
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
   * Code of the nearest value; a tie goes to the lower one.
   *
   * @param scaled in [-1, 1], or in [0, 1] for the unsigned table
   * @param table ascending
   */
  public static int code(float scaled, float[] table) {
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
