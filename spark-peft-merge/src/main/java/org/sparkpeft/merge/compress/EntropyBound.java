package org.sparkpeft.merge.compress;

/**
 * Shannon's limit for what a payload carries, the number its bytes are measured against.
 *
 * <p>The bound is the per-tensor one: within each tensor of d entries, K = p d of them kept,
 * entries count as independent with density p, so a ternary tensor needs d H(p) bits, H(p) = -p
 * log2 p - (1 - p) log2 (1 - p) + p, and 32 more for a scale of its own. A scale shared by all
 * tensors counts once. Tensors of which nothing is kept count nothing. Other values count their
 * nominal bits in place of the sign bit and the scale: 32 for fp32, 16 for fp16, and so on, with
 * their block scales. The header, the checksum and the numbers K are not part of the bound: they
 * are overhead.
 *
 * <p>It is a bound for coders that treat a tensor's entries alike. One that also uses structure
 * inside a tensor, such as rows of different density, may get below it.
 */
public final class EntropyBound {
  private static final double LN2 = StrictMath.log(2);

  private EntropyBound() {}

  /** Bits for the positions of {@code kept} of {@code size} independent entries: d h(K / d). */
  public static double positionBits(long size, long kept) {
    if (kept < 0 || kept > size) {
      throw new IllegalArgumentException("kept must be 0.." + size + ", got " + kept);
    }
    return share(kept, size) + share(size - kept, size);
  }

  /** Bits of {@code kept} ternary values of {@code size}, without scale: d H(K / d). */
  public static double ternaryBits(long size, long kept) {
    return positionBits(size, kept) + kept;
  }

  /**
   * Bits of the same when K is known: log2 C(d, K) + K. Below {@link #ternaryBits} by about half of
   * log2(2 pi d p (1 - p)) bits.
   */
  public static double enumerativeBits(long size, long kept) {
    if (kept < 0 || kept > size) {
      throw new IllegalArgumentException("kept must be 0.." + size + ", got " + kept);
    }
    return (logFactorial(size) - logFactorial(kept) - logFactorial(size - kept)) / LN2 + kept;
  }

  private static double share(long part, long whole) {
    return part == 0 ? 0 : -part * StrictMath.log((double) part / whole) / LN2;
  }

  /** ln n!: summed below 256, Stirling's series above, where its error is below 1e-13. */
  private static double logFactorial(long n) {
    if (n < 256) {
      double sum = 0;
      for (int i = 2; i <= n; i++) {
        sum += Math.log(i);
      }
      return sum;
    }
    double x = n;
    return x * Math.log(x)
        - x
        + 0.5 * Math.log(2 * Math.PI * x)
        + 1 / (12 * x)
        - 1 / (360 * x * x * x);
  }
}
