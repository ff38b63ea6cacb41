package org.sparkpeft.merge.compress;

/**
 * Golomb coding of ascending positions with any divisor M: the gap's quotient in unary, its
 * remainder in truncated binary: with b = ceil(log2 M) and c = 2^b - M, a remainder r below c takes
 * b - 1 bits; any other is x = r + c, sent as x >> 1 in b - 1 bits and then its lowest bit. Up to
 * half a percent shorter than {@link RiceCode}, which allows powers of two only.
 */
final class GolombCode {
  private GolombCode() {}

  /**
   * The divisor of fewest bits among the best power of two and those near the one that fits
   * geometric gaps, M = -1 / log2(1 - p).
   */
  static int bestDivisor(int[] positions, int from, int to, int base, int size) {
    double density = (double) (to - from) / size;
    double ideal = density >= 1 ? 1 : -StrictMath.log(2) / StrictMath.log1p(-density);
    int around = (int) Math.max(1, Math.rint(Math.min(ideal, 1 << 29)));
    int best = around;
    long fewest = Long.MAX_VALUE;
    for (int divisor = Math.max(1, around - 2); divisor <= around + 2; divisor++) {
      long bits = bits(positions, from, to, base, divisor);
      if (bits < fewest) {
        fewest = bits;
        best = divisor;
      }
    }
    int powerOfTwo = 1 << Math.min(30, RiceCode.bestParameter(positions, from, to, base, size));
    return bits(positions, from, to, base, powerOfTwo) < fewest ? powerOfTwo : best;
  }

  static long bits(int[] positions, int from, int to, int base, int divisor) {
    int b = width(divisor);
    int cutoff = (1 << b) - divisor;
    long bits = 0;
    int previous = base - 1;
    for (int i = from; i < to; i++) {
      int gap = positions[i] - previous - 1;
      int quotient = gap / divisor;
      int remainder = gap - quotient * divisor;
      bits += quotient + 1L + (remainder < cutoff ? b - 1 : b);
      previous = positions[i];
    }
    return bits;
  }

  /** ceil(log2 M), but 1 for M = 1 so that its cutoff of 1 leaves no remainder bits. */
  private static int width(int divisor) {
    return Math.max(1, 32 - Integer.numberOfLeadingZeros(divisor - 1));
  }

  static void write(ByteSink sink, int[] positions, int from, int to, int base, int divisor) {
    int b = width(divisor);
    int cutoff = (1 << b) - divisor;
    int previous = base - 1;
    for (int i = from; i < to; i++) {
      int gap = positions[i] - previous - 1;
      int quotient = gap / divisor;
      int remainder = gap - quotient * divisor;
      sink.unary(quotient);
      if (remainder < cutoff) {
        sink.bits(remainder, b - 1);
      } else {
        int shifted = remainder + cutoff;
        sink.bits(shifted >>> 1, b - 1);
        sink.bits(shifted & 1, 1);
      }
      previous = positions[i];
    }
  }

  /** Reads {@code count} positions in {@code [base, base + size)}. */
  static int[] read(ByteSource source, int count, int base, int size, int divisor) {
    int b = width(divisor);
    int cutoff = (1 << b) - divisor;
    int[] positions = new int[count];
    int previous = base - 1;
    for (int i = 0; i < count; i++) {
      int room = base + size - 1 - previous;
      long gap = (long) source.unary(room / divisor) * divisor;
      int head = (int) source.bits(b - 1);
      gap += head < cutoff ? head : (head << 1 | (int) source.bits(1)) - cutoff;
      if (gap >= room) {
        throw source.malformed("a position lies beyond the tensor's " + size + " entries");
      }
      previous += (int) gap + 1;
      positions[i] = previous;
    }
    return positions;
  }
}
