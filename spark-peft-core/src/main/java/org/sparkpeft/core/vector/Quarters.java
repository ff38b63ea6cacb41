package org.sparkpeft.core.vector;

/**
 * Sums by quarters of an array: compilers make vector code of adding four quarters entry by entry,
 * and not of a running sum or of a question asked of each entry. A fourth of them is left to those.
 */
public final class Quarters {
  private Quarters() {}

  /** Writes the sums of four entries each, {@code quarter} apart, to another array. */
  public static void add(float[] values, int quarter, float[] sums) {
    for (int i = 0; i < quarter; i++) {
      sums[i] =
          values[i] + values[i + quarter] + (values[i + 2 * quarter] + values[i + 3 * quarter]);
    }
  }

  /**
   * Sum of the first {@code n} values, in no order to rely on.
   *
   * @param scratch at least n / 4 long; overwritten
   */
  public static float sum(float[] values, int n, float[] scratch) {
    int quarter = n / 4;
    add(values, quarter, scratch);
    float first = 0;
    float second = 0;
    float third = 0;
    float fourth = 0; // Four sums do not wait for each other.
    int i = 0;
    for (; i + 3 < quarter; i += 4) {
      first += scratch[i];
      second += scratch[i + 1];
      third += scratch[i + 2];
      fourth += scratch[i + 3];
    }
    for (; i < quarter; i++) {
      first += scratch[i];
    }
    for (int at = 4 * quarter; at < n; at++) {
      second += values[at];
    }
    return first + second + (third + fourth);
  }
}
