package org.sparkpeft.merge.method;

/** Finds values that are NaN or infinite, fast where there are none. */
public final class FiniteCheck {
  private FiniteCheck() {}

  /** Index of the first of {@code n} values that is NaN or infinite, or -1. */
  public static int firstBad(float[] values, int n) {
    if (greatestKey(values, n) < KeepRule.INFINITY) {
      return -1;
    }
    int at = 0;
    while (Float.isFinite(values[at])) {
      at++;
    }
    return at;
  }

  /** Greatest magnitude bits. */
  private static int greatestKey(float[] values, int n) {
    int greatest = 0;
    for (int i = 0; i < n; i++) {
      greatest = Math.max(greatest, Float.floatToRawIntBits(values[i]) & KeepRule.MAGNITUDE);
    }
    return greatest;
  }
}
