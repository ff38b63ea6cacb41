package org.sparkpeft.merge.method;

import java.io.Serializable;

/**
 * How many magnitudes lie above a window, and in each bin of it. Counting is all that a parallel
 * selection needs: counts of parts add up to those of the whole.
 */
public final class MagnitudeCounts implements Serializable {
  private static final long serialVersionUID = 1L;

  /** Most bins of a window: 512 KiB of counts stay in the second-level cache. */
  static final int MAX_BINS = 1 << 16;

  /**
   * Magnitude bits {@code low..high}, in bins of {@code 2^shift}.
   *
   * @param low at least 1
   * @param high at least low
   */
  public record Window(int low, int high, int shift) implements Serializable {
    /** All finite magnitudes above zero. */
    static final Window FULL = of(1, KeepRule.INFINITY - 1);

    /** A window in the finest bins that are not too many. */
    static Window of(int low, int high) {
      int shift = 0;
      while ((high - low) >>> shift >= MAX_BINS) {
        shift++;
      }
      return new Window(low, high, shift);
    }

    int bins() {
      return ((high - low) >>> shift) + 1;
    }

    /** The keys of one bin. */
    Window bin(int index) {
      int from = low + (index << shift);
      return of(from, (int) Math.min(high, (long) from + (1L << shift) - 1));
    }
  }

  private final Window window;
  private final long[] bins;
  private long above;

  public MagnitudeCounts(Window window) {
    this.window = window;
    this.bins = new long[window.bins()];
  }

  /** Counts the first {@code n} values. */
  public void add(float[] values, int n) {
    int low = window.low();
    int high = window.high();
    int span = high - low;
    int shift = window.shift();
    int more = 0;
    for (int i = 0; i < n; i++) {
      int key = Float.floatToRawIntBits(values[i]) & KeepRule.MAGNITUDE;
      more += (high - key) >>> 31;
      int at = key - low;
      if (Integer.compareUnsigned(at, span) <= 0) {
        bins[at >>> shift]++;
      }
    }
    above += more;
  }

  /** Adds the counts of another part, made with the same window. */
  public MagnitudeCounts plus(MagnitudeCounts other) {
    if (!window.equals(other.window)) {
      throw new IllegalArgumentException("windows differ: " + window + " and " + other.window);
    }
    for (int i = 0; i < bins.length; i++) {
      bins[i] += other.bins[i];
    }
    above += other.above;
    return this;
  }

  Window window() {
    return window;
  }

  long above() {
    return above;
  }

  /** Those in the window. */
  long inside() {
    long sum = 0;
    for (long count : bins) {
      sum += count;
    }
    return sum;
  }

  long bin(int index) {
    return bins[index];
  }
}
