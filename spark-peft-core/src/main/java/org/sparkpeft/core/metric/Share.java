package org.sparkpeft.core.metric;

/**
 * A part of a whole in whole numbers, so that sums do not depend on their order.
 *
 * @param part how much
 * @param whole out of how much, at least 0
 */
public record Share(long part, long whole) {
  /** A fraction that is no ratio of small numbers is counted in units of 2^-30. */
  private static final long UNITS = 1L << 30;

  /** One text that is right or not. */
  static Share right(boolean right) {
    return new Share(right ? 1 : 0, 1);
  }

  /** One text that has so much of what is wanted, from 0 to 1, rounded to 2^-30. */
  static Share fraction(double value) {
    return new Share(Math.round(value * UNITS), UNITS);
  }

  Share plus(Share other) {
    return new Share(Math.addExact(part, other.part), Math.addExact(whole, other.whole));
  }

  /** Part over whole; the part itself where the whole is 0. */
  double value() {
    return (double) part / Math.max(1, whole);
  }
}
