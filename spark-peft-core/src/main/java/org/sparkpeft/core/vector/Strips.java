package org.sparkpeft.core.vector;

/**
 * An array cut into {@value #COUNT} strips of equal length, and a few entries that are left over.
 * Compilers make vector code of loops in which the same index is used for all arrays, and not of a
 * running sum or of a question asked of each entry. So the strips are added up, and the sum of all
 * strips is left to those.
 */
public final class Strips {
  /** Number of strips. */
  public static final int COUNT = 16;

  private Strips() {}

  /** Length of a strip of {@code n} entries. */
  public static int length(int n) {
    return n / COUNT;
  }

  /**
   * Leaves in the first strip the sum of all strips, in no order to rely on.
   *
   * @param n number of values; those that are left over stay as they are
   * @param scratch at least n / 2 long; overwritten
   */
  public static void fold(float[] values, int n, float[] scratch) {
    int strip = length(n);
    for (int half = COUNT / 2 * strip; half >= strip && half > 0; half /= 2) {
      System.arraycopy(values, half, scratch, 0, half);
      add(values, scratch, half);
    }
  }

  private static void add(float[] sums, float[] values, int n) {
    for (int i = 0; i < n; i++) {
      sums[i] += values[i];
    }
  }

  /** Sum of the first {@code n} values, in no order to rely on. */
  public static float sum(float[] values, int n) {
    float even = 0;
    float odd = 0; // Two sums wait half as long for each other.
    int i = 0;
    for (; i + 1 < n; i += 2) {
      even += values[i];
      odd += values[i + 1];
    }
    return i < n ? even + odd + values[i] : even + odd;
  }
}
