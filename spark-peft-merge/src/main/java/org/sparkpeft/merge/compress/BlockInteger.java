package org.sparkpeft.merge.compress;

import java.util.Optional;
import org.sparkpeft.core.random.Philox;

/**
 * Signed integers of 8, 4 or 2 bits in blocks that share a scale. A tensor's bits are its {@link
 * SharedExponent} (8), then for each block a binary16 scale (16) and its integers in two's
 * complement, so the first of two 4-bit integers is the low nibble. Block = {@value #BLOCK} values;
 * value = integer * scale; scale = max|v| / (2^(bits-1) - 1), rounded up to binary16 so that the
 * largest never exceeds the range.
 */
final class BlockInteger {
  static final int BLOCK = 256;

  /** Leading bits that follow the bell shape of updates; lower ones are as good as random. */
  private static final int MODELLED_BITS = 5;

  private BlockInteger() {}

  private static SymbolModel model(int integerBits) {
    return new SymbolModel(integerBits, MODELLED_BITS);
  }

  /** The wire format; serves one payload. */
  static final class Format implements ValueFormat {
    private final int integerBits;
    private final SymbolModel model;

    Format(int integerBits) {
      this.integerBits = integerBits;
      this.model = model(integerBits);
    }

    static int id(int integerBits) {
      return switch (integerBits) {
        case 8 -> 5;
        case 4 -> 6;
        case 2 -> 7;
        default -> throw new IllegalArgumentException("integers have 8, 4 or 2 bits");
      };
    }

    @Override
    public int id() {
      return id(integerBits);
    }

    @Override
    public long bits(int count) {
      long blocks = (count + BLOCK - 1L) / BLOCK;
      return count == 0 ? 0 : 8 + 16 * blocks + (long) integerBits * count;
    }

    @Override
    public void read(BitSource source, float[] into, int count) {
      if (count == 0) {
        return;
      }
      int exponent = SharedExponent.read(source);
      int shift = 32 - integerBits;
      for (int start = 0; start < count; start += BLOCK) {
        float scale = SharedExponent.decode((int) source.bits(16), exponent);
        for (int i = start; i < Math.min(count, start + BLOCK); i++) {
          int integer = source.symbol(model) << shift >> shift;
          into[i] = SharedExponent.clamp(integer * scale);
        }
      }
    }
  }

  /**
   * Rounds to nearest (ties to even), or stochastically: floor(v / scale + u) with u uniform in [0,
   * 1), which is right on average. Serves one payload.
   */
  static final class Rounding implements Quantiser {
    private final int integerBits;
    private final Optional<Philox> random;
    private final SymbolModel model;

    /**
     * @param random where u comes from, at the value's index; empty for rounding to nearest
     */
    Rounding(int integerBits, Optional<Philox> random) {
      this.integerBits = integerBits;
      this.random = random;
      this.model = model(integerBits);
    }

    @Override
    public ValueFormat format() {
      return new Format(integerBits);
    }

    @Override
    public boolean isModelled() {
      return true;
    }

    @Override
    public void write(BitSink sink, float[] kept, int from, int to) {
      if (from == to) {
        return;
      }
      int limit = (1 << (integerBits - 1)) - 1;
      int mask = (1 << integerBits) - 1;
      int exponent = SharedExponent.of(SharedExponent.max(kept, from, to) / limit);
      SharedExponent.write(sink, exponent);
      for (int start = from; start < to; start += BLOCK) {
        int end = Math.min(to, start + BLOCK);
        int half = scaleBits(SharedExponent.max(kept, start, end), limit, exponent);
        float scale = SharedExponent.decode(half, exponent);
        sink.bits(half, 16);
        for (int i = start; i < end; i++) {
          double u = random.isPresent() ? random.get().doubleAt(i) : Double.NaN;
          sink.symbol(model, integer(kept[i], scale, limit, u) & mask);
        }
      }
    }

    /** The smallest half-precision scale at which {@code max} stays within the limit. */
    private static int scaleBits(float max, int limit, int exponent) {
      double wanted = (double) max / limit;
      int bits = SharedExponent.encode((float) wanted, exponent);
      return SharedExponent.decode(bits, exponent) < wanted ? bits + 1 : bits;
    }
  }

  /**
   * The integer for one value.
   *
   * @param u in [0, 1) for stochastic rounding, NaN for rounding to nearest
   */
  static int integer(float value, float scale, int limit, double u) {
    if (scale == 0) {
      return 0;
    }
    double ratio = (double) value / scale;
    double rounded = Double.isNaN(u) ? Math.rint(ratio) : Math.floor(ratio + u);
    return (int) Math.max(-limit, Math.min(limit, rounded));
  }
}
