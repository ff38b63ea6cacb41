package org.sparkpeft.federated.aggregate;

import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/**
 * Real numbers as 64-bit integers in units of 2^-48. Integer addition is associative, which
 * floating point is not, so sums do not depend on order. Entries are at most 2^12 in magnitude and
 * the shares of a cohort add up to 1, so a sum stays below 2^61.
 */
public final class FixedPoint {
  /** Largest magnitude an update's entry may have. */
  public static final float MAX_MAGNITUDE = 4096f;

  private static final double UNIT = 0x1.0p48;

  private FixedPoint() {}

  static long of(double value) {
    return Math.round(value * UNIT);
  }

  static double toDouble(long fixed) {
    return fixed / UNIT;
  }

  /**
   * @throws UnusableUpdateException naming the first tensor with an entry that is not finite or too
   *     large
   */
  static void requireUsable(TaskVector update) {
    for (int i = 0; i < update.size(); i++) {
      float value = update.get(i);
      if (!(Math.abs(value) <= MAX_MAGNITUDE)) {
        int at = i;
        String tensor =
            update.layout().entries().stream()
                .filter(e -> e.end() > at)
                .findFirst()
                .map(ParameterLayout.Entry::name)
                .orElse("?");
        throw new UnusableUpdateException(
            "entry "
                + i
                + " ("
                + tensor
                + ") is "
                + value
                + "; updates must be finite and at most "
                + MAX_MAGNITUDE
                + " in magnitude");
      }
    }
  }
}
