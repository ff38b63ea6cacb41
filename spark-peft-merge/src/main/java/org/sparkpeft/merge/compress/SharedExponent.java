package org.sparkpeft.merge.compress;

/**
 * One power of two for the values of a tensor. Half-precision numbers are stored times 2^e, with e
 * such that the largest lies in [2^14, 2^15): it never overflows, and updates of any magnitude,
 * which in plain half precision would be subnormal from 6e-5 down, keep 11 significant bits. On the
 * wire e is one signed byte.
 */
final class SharedExponent {
  private static final int TARGET = 14;

  private SharedExponent() {}

  /** The exponent for values whose largest magnitude is {@code max}. */
  static int of(float max) {
    if (max == 0) {
      return 0;
    }
    return Math.max(-128, Math.min(127, TARGET - Math.getExponent(max)));
  }

  static void write(BitSink sink, int exponent) {
    sink.bits(exponent & 0xff, 8);
  }

  static int read(BitSource source) {
    return (byte) source.bits(8);
  }

  /** Half-precision bits of {@code value * 2^exponent}. */
  static int encode(float value, int exponent) {
    return Half.toBits(Math.scalb(value, exponent));
  }

  /** {@code bits * 2^-exponent}, at most the largest float; refuses infinities and NaN. */
  static float decode(int bits, int exponent) {
    return clamp(Math.scalb(ValueFormat.finite(Half.fromBits(bits)), -exponent));
  }

  /** Rounding up next to the largest float would give infinity. */
  static float clamp(float value) {
    return Math.max(-Float.MAX_VALUE, Math.min(Float.MAX_VALUE, value));
  }

  static float max(float[] values, int from, int to) {
    float max = 0;
    for (int i = from; i < to; i++) {
      max = Math.max(max, Math.abs(values[i]));
    }
    return max;
  }
}
