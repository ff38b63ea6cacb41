package org.sparkpeft.merge.compress;

/**
 * Golomb-Rice coding of ascending positions. The gap g = position - previous - 1 is split by the
 * parameter b: g >> b in unary (ones, then a zero), then the low b bits, LSB-first. It costs K (b +
 * 1) + sum(g >> b) bits, whatever the clustering at most K (b + 1) + d / 2^b.
 */
final class RiceCode {
  /** Largest parameter. */
  static final int MAX_PARAMETER = 31;

  /** ln(phi - 1), phi the golden ratio. */
  private static final double LOG_PHI = Math.log((Math.sqrt(5) - 1) / 2);

  private RiceCode() {}

  /**
   * The best parameter for geometric gaps of density p: max(0, 1 + floor(log2(ln(phi - 1) / ln(1 -
   * p)))), from Sattler et al., "Robust and communication-efficient federated learning from non-IID
   * data" (2019), eq. 8, without the extra one of its published code.
   */
  static int parameterFor(double density) {
    if (density >= 1) {
      return 0;
    }
    double ratio = LOG_PHI / StrictMath.log1p(-density);
    return (int)
        Math.min(
            MAX_PARAMETER, Math.max(0, 1 + Math.floor(StrictMath.log(ratio) / StrictMath.log(2))));
  }

  /** Bits for each kept position at density p with parameter b, for geometric gaps. */
  static double expectedBits(double density, int b) {
    return b + 1 / (1 - Math.pow(1 - density, Math.scalb(1.0, b)));
  }

  /**
   * The smallest parameter of fewest bits for these positions: the cost is convex in b, so walk
   * downhill.
   */
  static int bestParameter(int[] positions, int from, int to, int base, int size) {
    int b = parameterFor((double) (to - from) / size);
    long cost = bits(positions, from, to, base, b);
    while (b < MAX_PARAMETER) {
      long next = bits(positions, from, to, base, b + 1);
      if (next >= cost) {
        break;
      }
      cost = next;
      b++;
    }
    while (b > 0) {
      long next = bits(positions, from, to, base, b - 1);
      if (next > cost) {
        break;
      }
      cost = next;
      b--;
    }
    return b;
  }

  static long bits(int[] positions, int from, int to, int base, int b) {
    long bits = (long) (to - from) * (b + 1);
    int previous = base - 1;
    for (int i = from; i < to; i++) {
      bits += (positions[i] - previous - 1) >>> b;
      previous = positions[i];
    }
    return bits;
  }

  static void write(ByteSink sink, int[] positions, int from, int to, int base, int b) {
    int previous = base - 1;
    for (int i = from; i < to; i++) {
      int gap = positions[i] - previous - 1;
      sink.unary(gap >>> b);
      sink.bits(gap, b);
      previous = positions[i];
    }
  }

  /** Reads {@code count} positions in {@code [base, base + size)}. */
  static int[] read(ByteSource source, int count, int base, int size, int b) {
    int[] positions = new int[count];
    int previous = base - 1;
    for (int i = 0; i < count; i++) {
      int room = base + size - 1 - previous;
      long gap = ((long) source.unary(room >>> b) << b) | source.bits(b);
      if (gap >= room) {
        throw source.malformed("a position lies beyond the tensor's " + size + " entries");
      }
      previous += (int) gap + 1;
      positions[i] = previous;
    }
    return positions;
  }
}
