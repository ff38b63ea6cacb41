package org.sparkpeft.merge.compress;

import java.util.Arrays;

/**
 * A tensor's mask, eight entries a symbol, by asymmetric numeral systems (Duda, "Asymmetric numeral
 * systems", 2013; the range variant, rANS). A symbol with k of its entries kept has the probability
 * that independent entries of the tensor's density give it, p^k (1 - p)^(8 - k), which both sides
 * know from K and d: no table is sent. In 16-bit frequencies that costs about 0.1 % over the
 * entropy at densities of 5 % and more, and more than {@link GolombCode} below 2 %. It is decoded
 * some times as fast as {@link MaskCode}, which takes one division for each entry.
 *
 * <p>Frequencies: f_k = max(1, round(65536 p^k (1 - p)^(8 - k))), in {@link StrictMath}; the symbol
 * 0, or 255 if p is above one half, has what is left of 65536. Symbols follow each other by value.
 * The state x starts the decoder as a u64 of 2^31..2^63 - 1; a symbol s with x mod 65536 among its
 * frequencies makes it f_s (x div 65536) + x mod 65536 - (sum of f below s), and when that falls
 * below 2^31, x 2^32 + the next u32. After the last symbol x is 2^31.
 */
final class MaskRans {
  /** Tensors below this gain nothing: the state alone takes 8 bytes. */
  static final int LEAST_ENTRIES = 1 << 9;

  private static final int SCALE_BITS = 16;
  private static final int SCALE = 1 << SCALE_BITS;
  private static final int SYMBOLS = 256;
  private static final long LOWEST = 1L << 31;

  private MaskRans() {}

  /** Frequency of each symbol. */
  private static int[] frequencies(int kept, int size) {
    double p = (double) kept / size;
    int[] ofCount = new int[9];
    for (int k = 0; k <= 8; k++) {
      double probability = StrictMath.pow(p, k) * StrictMath.pow(1 - p, 8 - k);
      ofCount[k] = (int) Math.max(1, StrictMath.rint(SCALE * probability));
    }
    int[] frequencies = new int[SYMBOLS];
    int left = SCALE;
    int most = 2 * kept > size ? SYMBOLS - 1 : 0;
    for (int s = 0; s < SYMBOLS; s++) {
      if (s != most) {
        frequencies[s] = ofCount[Integer.bitCount(s)];
        left -= frequencies[s];
      }
    }
    frequencies[most] = left;
    return frequencies;
  }

  private static int[] starts(int[] frequencies) {
    int[] starts = new int[SYMBOLS];
    for (int s = 1; s < SYMBOLS; s++) {
      starts[s] = starts[s - 1] + frequencies[s - 1];
    }
    return starts;
  }

  /** The bytes for {@code positions[from..to)} of a tensor of {@code size} entries at base. */
  static byte[] encode(int[] positions, int from, int to, int base, int size) {
    int[] frequencies = frequencies(to - from, size);
    int[] starts = starts(frequencies);
    byte[] masks = new byte[(size + 7) / 8];
    for (int i = from; i < to; i++) {
      int at = positions[i] - base;
      masks[at >>> 3] |= (byte) (1 << (at & 7));
    }
    // Each symbol puts out 16 bits at most, since no frequency is below 1.
    byte[] bytes = new byte[2 * masks.length + 16];
    int begin = bytes.length;
    long x = LOWEST;
    for (int i = masks.length - 1; i >= 0; i--) {
      int s = masks[i] & 0xff;
      long f = frequencies[s];
      if (x >= f << 63 - SCALE_BITS) {
        begin -= 4;
        putInt(bytes, begin, (int) x);
        x >>>= 32;
      }
      long quotient = x / f;
      x = (quotient << SCALE_BITS) + (x - quotient * f) + starts[s];
    }
    begin -= 8;
    putInt(bytes, begin, (int) x);
    putInt(bytes, begin + 4, (int) (x >>> 32));
    return Arrays.copyOfRange(bytes, begin, bytes.length);
  }

  private static void putInt(byte[] bytes, int at, int value) {
    for (int i = 0; i < 4; i++) {
      bytes[at + i] = (byte) (value >>> (8 * i));
    }
  }

  /** Reads {@code count} positions in {@code [base, base + size)}. */
  static int[] read(ByteSource source, int count, int base, int size) {
    int[] frequencies = frequencies(count, size);
    int[] starts = starts(frequencies);
    byte[] symbols = new byte[SCALE];
    for (int s = 0; s < SYMBOLS; s++) {
      Arrays.fill(symbols, starts[s], starts[s] + frequencies[s], (byte) s);
    }
    int[] positions = new int[count];
    int n = 0;
    long x = source.u64();
    if (x < LOWEST) {
      throw source.malformed("a state of the mask must be 2^31 or above, got " + x);
    }
    for (int at = 0; at < size; at += 8) {
      int slot = (int) x & SCALE - 1;
      int s = symbols[slot] & 0xff;
      x = frequencies[s] * (x >>> SCALE_BITS) + slot - starts[s];
      if (x < LOWEST) {
        x = x << 32 | source.u32() & 0xffffffffL;
      }
      if (s != 0) {
        if (n + Integer.bitCount(s) > count) {
          throw source.malformed("the mask keeps more than the " + count + " entries declared");
        }
        for (int left = s; left != 0; left &= left - 1) {
          positions[n++] = base + at + Integer.numberOfTrailingZeros(left);
        }
      }
    }
    if (x != LOWEST || n < count || (n > 0 && positions[n - 1] >= base + size)) {
      throw source.malformed(
          "the mask keeps " + n + " of " + count + " entries, or does not end as it must");
    }
    return positions;
  }
}
