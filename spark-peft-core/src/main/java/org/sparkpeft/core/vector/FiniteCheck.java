package org.sparkpeft.core.vector;

/** Finds values that are NaN or infinite, fast where there are none. */
public final class FiniteCheck {
  private FiniteCheck() {}

  /**
   * Index of the first of {@code n} values that is NaN or infinite, or -1.
   *
   * @param scratch at least n / 2 + 1 long; overwritten
   */
  public static int firstBad(float[] values, int n, float[] scratch) {
    if (allFinite(values, n, 1, scratch)) {
      return -1;
    }
    int at = 0;
    while (Float.isFinite(values[at])) {
      at++;
    }
    return at;
  }

  /**
   * Whether {@code n} values are finite even when they are multiplied.
   *
   * <p>Adds up 0 f x, which is 0 or NaN; by halves, entry by entry, since compilers make vector
   * code of that and not of a running sum.
   *
   * @param factor f; 1 asks whether the values themselves are finite
   * @param scratch at least n / 2 + 1 long; overwritten
   */
  public static boolean allFinite(float[] values, int n, float factor, float[] scratch) {
    int left = n / 2;
    for (int i = 0; i < left; i++) {
      scratch[i] = values[i] * factor * 0 + values[i + left] * factor * 0;
    }
    float sum = n % 2 == 0 ? 0 : values[n - 1] * factor * 0;
    while (left > 16) {
      int half = left / 2;
      sum += left % 2 == 0 ? 0 : scratch[left - 1];
      for (int i = 0; i < half; i++) {
        scratch[i] += scratch[i + half];
      }
      left = half;
    }
    for (int i = 0; i < left; i++) {
      sum += scratch[i];
    }
    return sum == 0;
  }
}
