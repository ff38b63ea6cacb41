package org.sparkpeft.core.random;

import java.nio.charset.StandardCharsets;

/**
 * Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3" (SC 2011). A stream is a 64-bit key and a 64-bit stream number; its numbers are
 * addressed by position. Instances are immutable and may be shared.
 */
public final class Philox {
  private static final int M0 = 0xD2511F53;
  private static final int M1 = 0xCD9E8D57;
  private static final int W0 = 0x9E3779B9;
  private static final int W1 = 0xBB67AE85;

  private final long key;
  private final long stream;

  private Philox(long key, long stream) {
    this.key = key;
    this.stream = stream;
  }

  /**
   * The stream for a seed and a purpose, for example {@code Philox.of(seed, "dropout", round,
   * hash(clientId))}.
   *
   * @param seed the run's seed
   * @param purpose a word that keeps unrelated uses apart
   * @param coordinates further numbers that identify the use
   */
  public static Philox of(long seed, String purpose, long... coordinates) {
    long stream = hash(purpose);
    for (long coordinate : coordinates) {
      stream = mix(stream ^ mix(coordinate + 0x9E3779B97F4A7C15L));
    }
    return new Philox(seed, stream);
  }

  /**
   * A 64-bit hash of a string that never changes: FNV-1a over UTF-8, finished with {@link #mix}.
   */
  public static long hash(String text) {
    long h = 0xCBF29CE484222325L;
    for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
      h = (h ^ (b & 0xFF)) * 0x100000001B3L;
    }
    return mix(h);
  }

  /** The finaliser of SplitMix64: a bijection of 64-bit numbers that spreads every input bit. */
  public static long mix(long z) {
    z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
    z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
    return z ^ (z >>> 31);
  }

  /** A sub-stream, independent of this one. */
  public Philox child(long coordinate) {
    return new Philox(key, mix(stream ^ mix(coordinate + 0x9E3779B97F4A7C15L)));
  }

  /** Four 32-bit numbers of block {@code counter}; {@code out} needs length 4. */
  public void block(long counter, int[] out) {
    int c0 = (int) counter;
    int c1 = (int) (counter >>> 32);
    int c2 = (int) stream;
    int c3 = (int) (stream >>> 32);
    int k0 = (int) key;
    int k1 = (int) (key >>> 32);
    for (int round = 0; round < 10; round++) {
      long p0 = (M0 & 0xFFFFFFFFL) * (c0 & 0xFFFFFFFFL);
      long p1 = (M1 & 0xFFFFFFFFL) * (c2 & 0xFFFFFFFFL);
      int n0 = (int) (p1 >>> 32) ^ c1 ^ k0;
      int n2 = (int) (p0 >>> 32) ^ c3 ^ k1;
      c1 = (int) p1;
      c3 = (int) p0;
      c0 = n0;
      c2 = n2;
      k0 += W0;
      k1 += W1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
  }

  /** The 32-bit number at {@code position}. */
  public int intAt(long position) {
    int[] out = new int[4];
    block(position >>> 2, out);
    return out[(int) (position & 3)];
  }

  /** The 64-bit number at {@code position}. */
  public long longAt(long position) {
    int[] out = new int[4];
    block(position >>> 1, out);
    int at = (int) (position & 1) * 2;
    return ((long) out[at] << 32) | (out[at + 1] & 0xFFFFFFFFL);
  }

  /** Uniform in [0, 1) with 53 random bits. */
  public double doubleAt(long position) {
    return (longAt(position) >>> 11) * 0x1.0p-53;
  }

  /**
   * {@link #intAt} of {@code n} positions from {@code from}: four numbers for each computation,
   * where single ones take one each.
   */
  public void ints(long from, int n, int[] into) {
    int i = 0;
    for (; i < n && (from + i & 3) != 0; i++) {
      into[i] = intAt(from + i);
    }
    i = blocks(from + i >>> 2, i, n, into);
    for (; i < n; i++) {
      into[i] = intAt(from + i);
    }
  }

  /**
   * Writes whole blocks from {@code counter} on into {@code into[start..end)}, as {@link #block}
   * computes them but with nothing stored in between; returns where it stopped.
   */
  private int blocks(long counter, int start, int end, int[] into) {
    int s2 = (int) stream;
    int s3 = (int) (stream >>> 32);
    int keyLow = (int) key;
    int keyHigh = (int) (key >>> 32);
    int i = start;
    for (long block = counter; i + 4 <= end; block++, i += 4) {
      int c0 = (int) block;
      int c1 = (int) (block >>> 32);
      int c2 = s2;
      int c3 = s3;
      int k0 = keyLow;
      int k1 = keyHigh;
      for (int round = 0; round < 10; round++) {
        long p0 = (M0 & 0xFFFFFFFFL) * (c0 & 0xFFFFFFFFL);
        long p1 = (M1 & 0xFFFFFFFFL) * (c2 & 0xFFFFFFFFL);
        c0 = (int) (p1 >>> 32) ^ c1 ^ k0;
        c2 = (int) (p0 >>> 32) ^ c3 ^ k1;
        c1 = (int) p1;
        c3 = (int) p0;
        k0 += W0;
        k1 += W1;
      }
      into[i] = c0;
      into[i + 1] = c1;
      into[i + 2] = c2;
      into[i + 3] = c3;
    }
    return i;
  }

  /**
   * Standard normal at {@code position}, by Box-Muller with {@link StrictMath}: the same bits on
   * every machine.
   */
  public double gaussianAt(long position) {
    double u = ((longAt(2 * position) >>> 11) + 1) * 0x1.0p-53;
    double v = doubleAt(2 * position + 1);
    return StrictMath.sqrt(-2 * StrictMath.log(u)) * StrictMath.cos(2 * StrictMath.PI * v);
  }

  /** {@code length} floats uniform in [low, high). */
  public float[] uniform(int length, float low, float high) {
    float[] values = new float[length];
    int[] out = new int[4];
    for (int i = 0; i < length; i++) {
      if ((i & 3) == 0) {
        block(i >>> 2, out);
      }
      values[i] = low + (high - low) * ((out[i & 3] >>> 8) * 0x1.0p-24f);
    }
    return values;
  }

  /** {@code length} floats from N(0, deviation). */
  public float[] gaussian(int length, double deviation) {
    float[] values = new float[length];
    for (int i = 0; i < length; i++) {
      values[i] = (float) (deviation * gaussianAt(i));
    }
    return values;
  }

  /** A permutation of 0..n-1 (Fisher-Yates). */
  public int[] permutation(int n) {
    int[] order = new int[n];
    for (int i = 0; i < n; i++) {
      order[i] = i;
    }
    for (int i = n - 1; i > 0; i--) {
      int j = (int) Math.floorMod(longAt(i) >>> 1, (long) i + 1);
      int swap = order[i];
      order[i] = order[j];
      order[j] = swap;
    }
    return order;
  }
}
