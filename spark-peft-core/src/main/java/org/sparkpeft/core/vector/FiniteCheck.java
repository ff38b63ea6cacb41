package org.sparkpeft.core.vector;

/**
 * Finds values that are NaN or infinite, fast where there are none. For one thread.
 *
 * <p>Adds up 0 x, which is 0 or NaN, by {@link Strips}.
 */
public final class FiniteCheck {
  private final float[] zeros;
  private final float[] scratch;

  /**
   * @param capacity most values at once
   */
  public FiniteCheck(int capacity) {
    this.zeros = new float[capacity];
    this.scratch = new float[capacity / 2];
  }

  /** Index of the first of {@code n} values that is NaN or infinite, or -1. */
  public int firstBad(float[] values, int n) {
    if (allFinite(values, n, 1)) {
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
   * @param factor at least 1
   */
  public boolean allFinite(float[] values, int n, float factor) {
    zeros(values, factor, zeros, n);
    Strips.fold(zeros, n, scratch);
    int strip = Strips.length(n);
    float sum = Strips.sum(zeros, strip);
    for (int i = Strips.COUNT * strip; i < n; i++) {
      sum += zeros[i];
    }
    return sum == 0;
  }

  private static void zeros(float[] values, float factor, float[] zeros, int n) {
    for (int i = 0; i < n; i++) {
      zeros[i] = values[i] * factor * 0;
    }
  }
}
