package org.sparkpeft.merge.method;

import java.io.Serializable;

/**
 * How many magnitudes lie above a window, and in each bin of it. Counting is all that a parallel
 * selection needs: counts of parts add up to those of the whole.
 */
public final class MagnitudeCounts implements Serializable {
  private static final long serialVersionUID = 1L;

  /**
   * Most bins of a window, 4 MiB of counts. So many are needed for one pass where values are few
   * and far between, as differences of BF16 are: neighbours may lie 1/16 apart.
   */
  static final int MAX_BINS = 1 << 19;

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
  private boolean finite = true;

  /** What is to be added to {@link #above}, by places of a block. */
  private int[] aboveAt = {};

  /** Negative at places of a block where a value was not finite. */
  private int[] finiteAt = {};

  public MagnitudeCounts(Window window) {
    this.window = window;
    this.bins = new long[window.bins()];
  }

  /** Whether all values that were counted here, other than in parts, are finite. */
  public boolean areFinite() {
    addUp();
    return finite;
  }

  /** Counts the first {@code n} values. */
  public void add(float[] values, int n) {
    int low = window.low();
    int high = window.high();
    int span = high - low;
    int shift = window.shift();
    int more = 0;
    int bad = 0;
    for (int i = 0; i < n; i++) {
      int key = Float.floatToRawIntBits(values[i]) & KeepRule.MAGNITUDE;
      more += (high - key) >>> 31;
      bad += (KeepRule.INFINITY - 1 - key) >>> 31;
      int at = key - low;
      if (Integer.compareUnsigned(at, span) <= 0) {
        bins[at >>> shift]++;
      }
    }
    above += more;
    finite &= bad == 0;
  }

  /**
   * Counts a vector's values of a block. Faster than {@link #add(float[], int)} where few lie in
   * the window: compilers make vector code of all loops but the last, which looks at a quarter.
   */
  public void add(Block block, int vector) {
    int n = block.length();
    if (window.equals(Window.FULL)) {
      add(block.values(vector), n);
      return;
    }
    int[] bits = block.toBits(vector);
    int[] outside = block.marks();
    if (aboveAt.length < n) {
      addUp();
      aboveAt = new int[n];
      finiteAt = new int[n];
    }
    compare(bits, window.low(), window.high(), outside, n);
    addAbove(bits, window.high(), aboveAt, n);
    markInfinite(bits, finiteAt, n);
    int quarter = n / 4;
    int[] all = block.signs();
    andQuarters(outside, quarter, all);
    for (int i = 0; i < quarter; i++) {
      if (all[i] >= 0) {
        count(bits, outside, i);
        count(bits, outside, i + quarter);
        count(bits, outside, i + 2 * quarter);
        count(bits, outside, i + 3 * quarter);
      }
    }
    for (int i = 4 * quarter; i < n; i++) {
      count(bits, outside, i);
    }
  }

  /** Makes {@code outside} negative for what is not in the window. */
  private static void compare(int[] bits, int low, int high, int[] outside, int n) {
    for (int i = 0; i < n; i++) {
      int key = bits[i] & KeepRule.MAGNITUDE;
      outside[i] = (key - low) | (high - key);
    }
  }

  private static void addAbove(int[] bits, int high, int[] above, int n) {
    for (int i = 0; i < n; i++) {
      above[i] += (high - (bits[i] & KeepRule.MAGNITUDE)) >>> 31;
    }
  }

  private static void markInfinite(int[] bits, int[] finite, int n) {
    for (int i = 0; i < n; i++) {
      finite[i] |= KeepRule.INFINITY - 1 - (bits[i] & KeepRule.MAGNITUDE);
    }
  }

  private void addUp() {
    for (int i = 0; i < aboveAt.length; i++) {
      above += aboveAt[i];
      aboveAt[i] = 0;
      finite &= finiteAt[i] >= 0;
    }
  }

  private static void andQuarters(int[] outside, int quarter, int[] all) {
    for (int i = 0; i < quarter; i++) {
      all[i] =
          outside[i] & outside[i + quarter] & outside[i + 2 * quarter] & outside[i + 3 * quarter];
    }
  }

  private void count(int[] bits, int[] outside, int i) {
    if (outside[i] >= 0) {
      bins[((bits[i] & KeepRule.MAGNITUDE) - window.low()) >>> window.shift()]++;
    }
  }

  /** The same counts for the way back from a task: without the empty bins. */
  public Part part() {
    addUp();
    int filled = 0;
    for (long count : bins) {
      filled += count != 0 ? 1 : 0;
    }
    int[] indices = new int[filled];
    long[] counts = new long[filled];
    int n = 0;
    for (int i = 0; i < bins.length; i++) {
      if (bins[i] != 0) {
        indices[n] = i;
        counts[n++] = bins[i];
      }
    }
    return new Part(indices, counts, above);
  }

  /** Counts of a part of a vector. */
  public static final class Part implements Serializable {
    private static final long serialVersionUID = 1L;
    private final int[] indices;
    private final long[] counts;
    private final long above;

    private Part(int[] indices, long[] counts, long above) {
      this.indices = indices;
      this.counts = counts;
      this.above = above;
    }

    /** Number in one bin: with bins of one magnitude, how many have exactly that. */
    public long bin(int index) {
      int at = java.util.Arrays.binarySearch(indices, index);
      return at < 0 ? 0 : counts[at];
    }
  }

  /** Adds the counts of a part, made with the same window. */
  public void add(Part part) {
    for (int i = 0; i < part.indices.length; i++) {
      bins[part.indices[i]] += part.counts[i];
    }
    above += part.above;
  }

  Window window() {
    return window;
  }

  long above() {
    addUp();
    return above;
  }

  long bin(int index) {
    return bins[index];
  }
}
