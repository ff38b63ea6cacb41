package org.sparkpeft.merge.compress;

/**
 * The probability of a bit, learnt from the bits before it: the Krichevsky-Trofimov estimate, (ones
 * + 1/2) / (n + 1). Coding n bits of k ones costs at most n h(k/n) + log2(n)/2 + 1 bits, so no
 * density needs to be sent.
 */
final class AdaptiveBit {
  /** Counts are halved beyond this; it keeps them within the coder's precision. */
  private static final int LIMIT = 1 << 23;

  private int zeros = 1;
  private int total = 2;

  void encode(RangeEncoder coder, boolean one) {
    coder.encode(one, zeros, total);
    update(one);
  }

  boolean decode(RangeDecoder coder) {
    boolean one = coder.decode(zeros, total);
    update(one);
    return one;
  }

  private void update(boolean one) {
    if (!one) {
      zeros += 2;
    }
    total += 2;
    if (total > LIMIT) {
      int ones = total - zeros;
      zeros = (zeros >>> 1) | 1;
      total = zeros + ((ones >>> 1) | 1);
    }
  }
}
