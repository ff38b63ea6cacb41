package org.sparkpeft.merge.compress;

import org.sparkpeft.core.random.Philox;

/**
 * QSGD (Alistarh et al., 2017): in each bucket of n values, r = s |v| / ||v||, level q = floor(r)
 * or one more with probability r - floor(r), decoded as ||v|| sign(v) q / s. Unbiased, with
 * variance at most min(n / s^2, sqrt(n) / s) ||v||^2. A bucket's bits are its norm (f32), then for
 * each value a symbol q + s of 0..2s in the fewest whole bits, coded adaptively where the body is a
 * stream.
 */
final class Qsgd {
  static final int ID = 8;
  static final int MAX_LEVELS = 127;
  static final int BUCKET = 512;

  private Qsgd() {}

  private static SymbolModel model(int levels) {
    int bits = 32 - Integer.numberOfLeadingZeros(2 * levels);
    return new SymbolModel(bits, bits);
  }

  /** The wire format; serves one payload. */
  static final class Format implements ValueFormat {
    private final int levels;
    private final SymbolModel model;

    Format(int levels) {
      this.levels = levels;
      this.model = model(levels);
    }

    int levels() {
      return levels;
    }

    @Override
    public int id() {
      return ID;
    }

    @Override
    public long bits(int count) {
      return 32L * ((count + BUCKET - 1L) / BUCKET) + (long) model.bits() * count;
    }

    @Override
    public void read(BitSource source, float[] into, int count) {
      for (int start = 0; start < count; start += BUCKET) {
        float norm = ValueFormat.finite(Float.intBitsToFloat((int) source.bits(32)));
        for (int i = start; i < Math.min(count, start + BUCKET); i++) {
          int level = source.symbol(model) - levels;
          if (level > levels) {
            throw new org.sparkpeft.core.error.FormatException(
                "payload", "a QSGD level must be -" + levels + ".." + levels + ", got " + level);
          }
          into[i] = value(norm, level, levels);
        }
      }
    }
  }

  /** Draws levels; serves one payload. */
  static final class Rounding implements Quantiser {
    private final int levels;
    private final Philox random;
    private final SymbolModel model;

    Rounding(int levels, Philox random) {
      this.levels = levels;
      this.random = random;
      this.model = model(levels);
    }

    @Override
    public ValueFormat format() {
      return new Format(levels);
    }

    @Override
    public boolean isModelled() {
      return true;
    }

    @Override
    public void write(BitSink sink, float[] kept, int from, int to) {
      for (int start = from; start < to; start += BUCKET) {
        int end = Math.min(to, start + BUCKET);
        float norm = norm(kept, start, end);
        sink.bits(Float.floatToRawIntBits(norm), 32);
        for (int i = start; i < end; i++) {
          sink.symbol(model, level(kept[i], norm, levels, random.doubleAt(i)) + levels);
        }
      }
    }
  }

  static float norm(float[] values, int from, int to) {
    double squares = 0;
    for (int i = from; i < to; i++) {
      squares += (double) values[i] * values[i];
    }
    return Ternary.representable(Math.sqrt(squares));
  }

  /**
   * The signed level of one value.
   *
   * @param u uniform in [0, 1)
   */
  static int level(float value, float norm, int levels, double u) {
    if (norm == 0) {
      return 0;
    }
    double r = levels * (double) Math.abs(value) / norm;
    int whole = (int) Math.floor(r);
    int level = Math.min(levels, u < r - whole ? whole + 1 : whole);
    return value < 0 ? -level : level;
  }

  static float value(float norm, int level, int levels) {
    return (float) ((double) norm * level / levels);
  }
}
