package org.sparkpeft.merge.method;

import java.io.Serializable;

/**
 * Which entries of a vector are among its K largest magnitudes, so that each can be judged alone:
 * those whose magnitude bits exceed {@code key}, and those that equal it at positions before {@code
 * tiesBefore}. So of equal magnitudes the first are kept, and exactly K in all.
 *
 * @param key bits of the K-th magnitude; at least 1, so zeros never stay
 * @param tiesBefore position after the last kept one of those that equal it
 */
public record KeepRule(int key, long tiesBefore) implements Serializable {
  static final int MAGNITUDE = 0x7fffffff;
  static final int INFINITY = 0x7f800000;

  /** Keeps everything but zeros. */
  public static final KeepRule ALL = new KeepRule(1, Long.MAX_VALUE);

  /** Keeps nothing. */
  static final KeepRule NONE = new KeepRule(MAGNITUDE, 0);

  /** The same rule where positions start {@code offset} later. */
  public KeepRule from(long offset) {
    return new KeepRule(key, tiesBefore == Long.MAX_VALUE ? tiesBefore : tiesBefore - offset);
  }

  /** Sets to zero what is not kept of the first {@code n} values, which start at {@code from}. */
  public void apply(float[] values, int n, long from) {
    int[] bits = new int[n];
    for (int i = 0; i < n; i++) {
      bits[i] = Float.floatToRawIntBits(values[i]);
    }
    apply(bits, n, from);
    for (int i = 0; i < n; i++) {
      values[i] = Float.intBitsToFloat(bits[i]);
    }
  }

  /** The same on the bits of the values, of which compilers make vector code. */
  void apply(int[] bits, int n, long from) {
    int split = split(n, from);
    zeroBelow(bits, 0, split, key);
    zeroBelow(bits, split, n, key + 1);
  }

  /** The same, and adds 1 to the counts of what is kept. */
  void apply(int[] bits, int[] counts, int n, long from) {
    int split = split(n, from);
    zeroBelow(bits, counts, 0, split, key);
    zeroBelow(bits, counts, split, n, key + 1);
  }

  /** Sets to zero what is kept. */
  void drop(int[] bits, int n, long from) {
    int split = split(n, from);
    zeroFrom(bits, 0, split, key);
    zeroFrom(bits, split, n, key + 1);
  }

  /** Whether it is the same for all positions {@code [from, from + n)}. */
  boolean isOne(long from, int n) {
    int split = split(n, from);
    return split == 0 || split == n;
  }

  private int split(int n, long from) {
    return (int) Math.max(0, Math.min(n, tiesBefore - from));
  }

  private static void zeroBelow(int[] bits, int from, int to, int least) {
    for (int i = from; i < to; i++) {
      // All ones if the magnitude is at least the least: no branch to guess.
      bits[i] &= (least - 1 - (bits[i] & MAGNITUDE)) >> 31;
    }
  }

  private static void zeroBelow(int[] bits, int[] counts, int from, int to, int least) {
    for (int i = from; i < to; i++) {
      int kept = (least - 1 - (bits[i] & MAGNITUDE)) >> 31;
      bits[i] &= kept;
      counts[i] -= kept;
    }
  }

  private static void zeroFrom(int[] bits, int from, int to, int least) {
    for (int i = from; i < to; i++) {
      bits[i] &= ((bits[i] & MAGNITUDE) - least) >> 31;
    }
  }
}
