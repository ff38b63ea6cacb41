package org.sparkpeft.merge.method;

import org.sparkpeft.merge.method.MagnitudeCounts.Window;

/**
 * Finds the K-th largest magnitude by counting, exactly: count in a {@link #window}, give the
 * counts to {@link #narrow}, and again until {@link #isFound}. Two passes do, or one if a {@link
 * #startAt sample} was good. Zeros do not count; if there are fewer others than K, all are kept.
 */
public final class MagnitudeSearch {
  /** How far, in standard errors of its rank, the sample's quantile may be off. */
  private static final double MARGIN = 5;

  private final long k;
  private Window window = Window.FULL;
  private int key;
  private long ties;
  private boolean allTies;

  /**
   * @param k number of entries to keep; 0 keeps none
   */
  public MagnitudeSearch(long k) {
    if (k < 0) {
      throw new IllegalArgumentException("the number of entries to keep is negative: " + k);
    }
    this.k = k;
    if (k == 0) {
      key = KeepRule.MAGNITUDE;
    }
  }

  /**
   * How many of {@code size} entries a density keeps: floor(density size), at least 1; see {@link
   * org.sparkpeft.merge.compress.TopKSelection#keptCount}.
   */
  public static long keptCount(double density, long size) {
    if (!(density > 0 && density <= 1)) {
      throw new IllegalArgumentException("density must be in (0, 1], got " + density);
    }
    return Math.min(size, Math.max(1, (long) Math.floor(density * (double) size + 1e-9)));
  }

  /**
   * Starts with the window a sample suggests. A bad sample costs a pass, never a wrong result.
   *
   * @param sample finite values from all over the vector
   * @param density share of entries that is kept
   */
  public MagnitudeSearch startAt(float[] sample, double density) {
    if (isFound() || sample.length < 500) {
      return this;
    }
    double error = MARGIN * Math.sqrt(density * (1 - density) / sample.length) + 2e-6;
    int low = quantile(sample, density + error);
    int high = quantile(sample, density - error);
    if (low >= 1 && high >= low && high < KeepRule.INFINITY) {
      window = Window.of(low, high);
    }
    return this;
  }

  /** Magnitude bits that a share of the sample reaches; the greatest there can be for no share. */
  private static int quantile(float[] sample, double share) {
    long rank = Math.round(share * sample.length);
    if (rank < 1) {
      return KeepRule.INFINITY - 1;
    }
    MagnitudeSearch search = new MagnitudeSearch(Math.min(rank, sample.length));
    while (!search.isFound()) {
      MagnitudeCounts counts = new MagnitudeCounts(search.window());
      counts.add(sample, sample.length);
      search.narrow(counts);
    }
    return search.key();
  }

  public boolean isFound() {
    return key > 0;
  }

  /** Where to count next. */
  public Window window() {
    return window;
  }

  /** Takes the counts of the whole vector in {@link #window}. */
  public void narrow(MagnitudeCounts counts) {
    if (!counts.window().equals(window)) {
      throw new IllegalArgumentException("counted in " + counts.window() + ", not in " + window);
    }
    long greater = counts.above();
    if (greater >= k) {
      restart();
      return;
    }
    int bin = window.bins() - 1;
    while (bin >= 0 && greater + counts.bin(bin) < k) {
      greater += counts.bin(bin--);
    }
    if (bin < 0) {
      if (window.low() > 1) {
        restart();
        return;
      }
      key = 1;
      allTies = true;
    } else if (window.shift() == 0) {
      key = window.low() + bin;
      ties = k - greater;
      allTies = ties == counts.bin(bin);
    } else {
      window = window.bin(bin);
    }
  }

  private void restart() {
    if (window.equals(Window.FULL)) {
      throw new IllegalArgumentException("the vector has entries that are not finite");
    }
    window = Window.FULL;
  }

  /** Bits of the K-th magnitude, once found. */
  public int key() {
    return key;
  }

  /** Which bin of {@link #window} holds the K-th magnitude alone, once found there. */
  public int bin() {
    return key - window.low();
  }

  /** How many of those that equal the K-th are kept: the first. */
  public long ties() {
    return ties;
  }

  /** Whether all that equal the K-th are kept, so that positions do not matter. */
  public boolean keepsAllTies() {
    return allTies || k == 0;
  }

  /**
   * The rule.
   *
   * @param tiesBefore see {@link KeepRule}; ignored if {@link #keepsAllTies}
   */
  public KeepRule rule(long tiesBefore) {
    if (k == 0) {
      return KeepRule.NONE;
    }
    return new KeepRule(key, allTies ? Long.MAX_VALUE : tiesBefore);
  }

  /** Number of values whose magnitude bits are {@code key}. */
  public static int countEqual(float[] values, int n, int key) {
    int count = 0;
    for (int i = 0; i < n; i++) {
      int different = (Float.floatToRawIntBits(values[i]) & KeepRule.MAGNITUDE) ^ key;
      count += (different - 1) >>> 31;
    }
    return count;
  }

  /** Index after the {@code ordinal}-th value, from 1, whose magnitude bits are {@code key}. */
  public static int afterTie(float[] values, int n, int key, long ordinal) {
    long left = ordinal;
    for (int i = 0; i < n; i++) {
      if ((Float.floatToRawIntBits(values[i]) & KeepRule.MAGNITUDE) == key && --left == 0) {
        return i + 1;
      }
    }
    throw new IllegalArgumentException("there are fewer than " + ordinal + " ties");
  }
}
