package org.sparkpeft.merge.method;

import java.io.Serializable;
import org.sparkpeft.core.vector.Strips;

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

  /** Least magnitude beside which what is computed with stays far from the smallest floats. */
  private static final float LEAST = 0x1p-60f;

  private final Window window;
  private final long[] bins;
  private final float low;
  private final float high;
  private final float center;

  /** Beyond which nothing lies in the window; a little too large, since it is rounded. */
  private final float radius;

  private long above;

  public MagnitudeCounts(Window window) {
    this.window = window;
    this.bins = new long[window.bins()];
    this.low = Float.intBitsToFloat(window.low());
    this.high = Float.intBitsToFloat(window.high());
    this.center = low / 2 + high / 2;
    this.radius = 1.001f * Math.max(high - center, center - low) + 4 * Math.ulp(center);
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

  /**
   * Counts a vector's values of a block; at most 2^24. Faster than {@link #add(float[], int)} where
   * few lie in the window.
   */
  public void add(Block block, int vector) {
    float[] values = block.values(vector);
    int n = block.length();
    if (!(low >= LEAST)) {
      add(values, n);
      return;
    }
    float[] over = block.largest();
    float[] near = block.second();
    compare(values, center, radius, high, Math.ulp(high) * 0x1p-30f, over, near, n);
    Strips.fold(over, n, block.third());
    Strips.fold(near, n, block.third());
    int strip = Strips.length(n);
    int whole = Strips.COUNT * strip;
    float more = Strips.sum(over, strip);
    if (Float.isNaN(more)) { // because a value is not finite
      add(values, n);
      return;
    }
    above += (long) more;
    for (int i = 0; i < strip; i++) {
      if (near[i] > 0) {
        for (int at = i; at < whole; at += strip) {
          count(values[at]);
        }
      }
    }
    for (int i = whole; i < n; i++) {
      above += isAbove(values[i]) ? 1 : 0;
      count(values[i]);
    }
  }

  /**
   * Gives 1 where magnitudes are above the window, as {@link TrimmedElection} compares, else 0; and
   * more than 0 in {@code near} where they may lie in it.
   */
  private static void compare(
      float[] values,
      float center,
      float radius,
      float high,
      float tiny,
      float[] over,
      float[] near,
      int n) {
    for (int i = 0; i < n; i++) {
      float magnitude = Math.abs(values[i]);
      float beyond = magnitude - high;
      float twice = beyond + Math.abs(beyond);
      over[i] = twice / (twice + tiny);
      float within = radius - Math.abs(magnitude - center);
      near[i] = within + Math.abs(within);
    }
  }

  private boolean isAbove(float value) {
    return (Float.floatToRawIntBits(value) & KeepRule.MAGNITUDE) > window.high();
  }

  private void count(float value) {
    int at = (Float.floatToRawIntBits(value) & KeepRule.MAGNITUDE) - window.low();
    if (at >= 0 && at <= window.high() - window.low()) {
      bins[at >>> window.shift()]++;
    }
  }

  /** The same counts for the way back from a task: without the empty bins. */
  public Part part() {
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
    return above;
  }

  long bin(int index) {
    return bins[index];
  }
}
