package org.sparkpeft.merge.compress;

import java.util.Arrays;

/**
 * The masks of all tensors, eight entries a symbol, by asymmetric numeral systems (Duda,
 * "Asymmetric numeral systems", 2013; the range variant, rANS) with one state. A symbol is its
 * class, the number k of its entries kept, and its rank among the C(8, k) symbols of that class,
 * all equally likely. How likely a class is follows from K and d, which both sides know: no table
 * is sent. From a density of 0.1 % on that costs at most 0.3 % over the entropy. The package
 * description gives frequencies and steps.
 *
 * <p>The least state is a multiple of each 65536 C(8, k), so that nothing is lost by rounding and
 * one word always refills the state.
 */
final class MaskRans {
  private static final int SCALE_BITS = 16;
  private static final int SCALE = 1 << SCALE_BITS;
  private static final int CLASSES = 9;
  private static final long LOWEST = 35L << 25;

  /** C(8, k). */
  private static final int[] SIZES = {1, 8, 28, 56, 70, 56, 28, 8, 1};

  /** Where class k begins in {@link #SYMBOLS}. */
  private static final int[] OFFSETS = {0, 1, 9, 37, 93, 163, 219, 247, 255};

  /** All symbols by class, then by value. */
  private static final byte[] SYMBOLS = new byte[256];

  /** Each symbol's rank in its class. */
  private static final byte[] RANKS = new byte[256];

  static {
    int[] seen = new int[CLASSES];
    for (int symbol = 0; symbol < 256; symbol++) {
      int k = Integer.bitCount(symbol);
      SYMBOLS[OFFSETS[k] + seen[k]] = (byte) symbol;
      RANKS[symbol] = (byte) seen[k]++;
    }
  }

  private MaskRans() {}

  private static int symbols(int size) {
    return (int) ((size + 7L) / 8);
  }

  /** Sums of the frequencies below each class; the tenth is 65536. */
  private static void frequencies(int kept, int size, int[] starts) {
    long places = 8L * symbols(size);
    double p = (double) kept / places;
    int likeliest = (int) (9L * kept / places);
    int left = SCALE;
    for (int k = 0; k < CLASSES; k++) {
      if (k != likeliest) {
        double expected = SCALE * (double) SIZES[k] * power(p, k) * power(1 - p, 8 - k);
        starts[k + 1] = (int) Math.max(1, Math.rint(expected));
        left -= starts[k + 1];
      }
    }
    starts[likeliest + 1] = left;
    for (int k = 0; k < CLASSES; k++) {
      starts[k + 1] += starts[k];
    }
  }

  private static double power(double base, int exponent) {
    double power = 1;
    for (int i = 0; i < exponent; i++) {
      power *= base;
    }
    return power;
  }

  /** {@code x / SIZES[k]}, by constants, which compile to multiplications. */
  private static long divided(long x, int k) {
    return switch (k) {
      case 1, 7 -> x >>> 3;
      case 2, 6 -> x / 28;
      case 3, 5 -> x / 56;
      case 4 -> x / 70;
      default -> x;
    };
  }

  /** Takes tensors last to first, since the decoder reads backwards what the encoder wrote. */
  static final class Encoder {
    private final int[] starts = new int[CLASSES + 1];

    /** States at which each class moves out a word first. */
    private final long[] limits = new long[CLASSES];

    /** Last word first. */
    private int[] words;

    private int count;
    private long x = LOWEST;

    Encoder(int expectedWords) {
      words = new int[Math.max(16, expectedWords)];
    }

    /**
     * Puts the mask {@code positions[from..to)} of {@code size} entries at base before the rest.
     */
    void prepend(int[] positions, int from, int to, int base, int size) {
      if (from == to || to - from == size) {
        return;
      }
      frequencies(to - from, size, starts);
      for (int k = 0; k < CLASSES; k++) {
        limits[k] = (starts[k + 1] - starts[k]) * ((LOWEST / SIZES[k]) << SCALE_BITS);
      }
      long state = x;
      int next = to - 1;
      for (int begin = base + 8 * (symbols(size) - 1); begin >= base; begin -= 8) {
        int symbol = 0;
        while (next >= from && positions[next] >= begin) {
          symbol |= 1 << (positions[next--] - begin);
        }
        int k = Integer.bitCount(symbol);
        if (state >= limits[k]) {
          append((int) state);
          state >>>= 32;
        }
        int f = starts[k + 1] - starts[k];
        long within = state * SIZES[k] + RANKS[symbol];
        long quotient = within / f;
        state = (quotient << SCALE_BITS) + (within - quotient * f) + starts[k];
      }
      x = state;
    }

    private void append(int word) {
      if (count == words.length) {
        words = Arrays.copyOf(words, count + (count >> 1));
      }
      words[count++] = word;
    }

    /** Bytes that {@link #write} takes. */
    long bytes() {
      return 8 + 4L * count;
    }

    void write(ByteSink sink) {
      sink.u64(x);
      for (int i = count - 1; i >= 0; i--) {
        sink.u32(words[i]);
      }
    }
  }

  /** Gives the tensors' masks back, first to last. */
  static final class Decoder {
    private final ByteSource source;
    private final int[] starts = new int[CLASSES + 1];
    private long x;

    Decoder(ByteSource source) {
      this.source = source;
      x = source.u64();
      if (x < LOWEST || x >= LOWEST << 32) {
        throw source.malformed("a state of the masks must be 35 * 2^25..35 * 2^57 - 1, got " + x);
      }
    }

    /** Reads {@code count} positions in {@code [base, base + size)} into {@code into[0..count)}. */
    void read(int[] into, int count, int base, int size) {
      if (count == 0 || count == size) {
        for (int i = 0; i < count; i++) {
          into[i] = base + i;
        }
        return;
      }
      frequencies(count, size, starts);
      long state = x;
      int n = 0;
      int end = symbols(size);
      for (int at = 0; at < end; at++) {
        int slot = (int) state & (SCALE - 1);
        int k = 0;
        while (slot >= starts[k + 1]) {
          k++;
        }
        long within = (starts[k + 1] - starts[k]) * (state >>> SCALE_BITS) + slot - starts[k];
        state = divided(within, k);
        int rank = (int) (within - state * SIZES[k]);
        if (state < LOWEST) {
          state = (state << 32) | (source.u32() & 0xffffffffL);
        }
        if (k > count - n) {
          throw source.malformed("a mask keeps more than the " + count + " entries declared");
        }
        for (int left = SYMBOLS[OFFSETS[k] + rank] & 0xff; left != 0; left &= left - 1) {
          into[n++] = base + 8 * at + Integer.numberOfTrailingZeros(left);
        }
      }
      x = state;
      if (n < count || into[n - 1] - base >= size) {
        throw source.malformed(
            "a mask of " + size + " entries keeps " + n + " of " + count + ", or one past its end");
      }
    }

    /** Refuses bytes that nothing has asked for. */
    void finish() {
      if (x != LOWEST) {
        throw source.malformed("the masks do not end as they must; the bytes are damaged");
      }
      source.requireEnd();
    }
  }
}
