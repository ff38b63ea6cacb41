package org.sparkpeft.merge.compress;

import java.util.Arrays;

/**
 * Exact selection of the K entries of largest magnitude in linear time, without sorting: two
 * counting passes over the bits of |x|, which order finite floats like their magnitudes, find the
 * K-th magnitude; one more pass emits.
 *
 * <p>Ties are broken by position: entries rank by (magnitude descending, index ascending), so
 * exactly K entries are kept and every node keeps the same ones. Zeros, of either sign, are never
 * kept; if there are fewer than K non-zero entries, all of those are kept.
 */
public final class TopKSelection {
  private static final int MAGNITUDE = 0x7fffffff;
  private static final int INFINITY = 0x7f800000;

  /** Up to this many entries are sorted. */
  private static final int SMALL = 4096;

  private TopKSelection() {}

  /**
   * How many of {@code size} entries a density keeps: the floor of {@code density * size}, at least
   * 1. A product within 1e-9 below a whole number counts as that number, so that a density of 0.29
   * keeps 29 of 100.
   *
   * @param density in (0, 1]
   */
  public static int keptCount(double density, int size) {
    if (!(density > 0 && density <= 1)) {
      throw new IllegalArgumentException("density must be in (0, 1], got " + density);
    }
    return (int) Math.min(size, Math.max(1, Math.floor(density * size + 1e-9)));
  }

  /**
   * The positions, ascending, of the {@code k} largest magnitudes among {@code values[from..to)}.
   *
   * @throws NonFiniteUpdateException if one of them is NaN or infinite
   */
  public static int[] indices(float[] values, int from, int to, int k) {
    if (k < 0) {
      throw new IllegalArgumentException("the number of entries to keep is negative: " + k);
    }
    return to - from <= SMALL
        ? indicesBySorting(values, from, to, k)
        : indicesByCounting(values, from, to, k);
  }

  /** For short ranges, where clearing the histograms would take longer than sorting. */
  static int[] indicesBySorting(float[] values, int from, int to, int k) {
    // Magnitude above, reversed index below: larger keys rank first.
    long[] keys = new long[to - from];
    int nonZero = 0;
    for (int i = from; i < to; i++) {
      int key = key(values, i);
      keys[i - from] = (long) key << 32 | (Integer.MAX_VALUE - i);
      if (key != 0) {
        nonZero++;
      }
    }
    int[] kept = new int[Math.min(k, nonZero)];
    if (kept.length > 0) {
      Arrays.sort(keys);
    }
    for (int i = 0; i < kept.length; i++) {
      kept[i] = Integer.MAX_VALUE - (int) keys[keys.length - 1 - i];
    }
    Arrays.sort(kept);
    return kept;
  }

  static int[] indicesByCounting(float[] values, int from, int to, int k) {
    int[] high = new int[1 << 15];
    int nonZero = 0;
    for (int i = from; i < to; i++) {
      int key = key(values, i);
      high[key >>> 16]++;
      if (key != 0) {
        nonZero++;
      }
    }
    if (k >= nonZero) {
      return above(values, from, to, 0, nonZero, 0);
    }
    int bin = high.length - 1;
    int greater = 0;
    while (greater + high[bin] < k) {
      greater += high[bin--];
    }
    int[] low = new int[1 << 16];
    for (int i = from; i < to; i++) {
      int key = key(values, i);
      if (key >>> 16 == bin) {
        low[key & 0xffff]++;
      }
    }
    int rest = low.length - 1;
    while (greater + low[rest] < k) {
      greater += low[rest--];
    }
    return above(values, from, to, (bin << 16) | rest, k, k - greater);
  }

  /** All positions above the threshold and the first {@code ties} that equal it. */
  private static int[] above(float[] values, int from, int to, int threshold, int count, int ties) {
    int[] kept = new int[count];
    int n = 0;
    int left = ties;
    for (int i = from; i < to && n < count; i++) {
      int key = Float.floatToRawIntBits(values[i]) & MAGNITUDE;
      if (key > threshold) {
        kept[n++] = i;
      } else if (key == threshold && left > 0) {
        left--;
        kept[n++] = i;
      }
    }
    return kept;
  }

  private static int key(float[] values, int i) {
    int key = Float.floatToRawIntBits(values[i]) & MAGNITUDE;
    if (key >= INFINITY) {
      throw new NonFiniteUpdateException(i, values[i]);
    }
    return key;
  }
}
