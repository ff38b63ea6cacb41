package org.sparkpeft.core.io;

/**
 * IEEE 754 binary16: 1 sign, 5 exponent and 10 fraction bits. Widening is exact, including
 * subnormals, infinities and NaN payloads; narrowing rounds to nearest, ties to even.
 */
public final class Float16 {
  /** Moves an exponent biased by 15 to one biased by 127; a product with it is exact. */
  private static final float REBIAS = 0x1p112f;

  private static final int FLOAT_INFINITY = 0x7f800000;

  /** Exponent field 31 of a half, where its 15 magnitude bits sit after a shift by 13. */
  private static final int SHIFTED_INFINITY = 0x0f800000;

  /** 65520, half way between the largest half and the next power of two: rounds to infinity. */
  private static final int FIRST_OVERFLOW = 0x477ff000;

  /** 2^-14, the smallest normal half. */
  private static final int SMALLEST_NORMAL = 0x38800000;

  private Float16() {}

  /** The float with the same value as the half with these bits. Free of branches. */
  public static float toFloat(short half) {
    int magnitude = (half & 0x7fff) << 13;
    // The multiplication normalises subnormals too. Infinity and NaN come out with exponent 143 and
    // get the exponent field filled up instead.
    int bits = Float.floatToRawIntBits(Float.intBitsToFloat(magnitude) * REBIAS);
    int special = ((SHIFTED_INFINITY - 1 - magnitude) >> 31) & FLOAT_INFINITY;
    return Float.intBitsToFloat(bits | special | ((half & 0x8000) << 16));
  }

  /** The bits of the half nearest to {@code value}; beyond 65520 in magnitude, infinity. */
  public static short fromFloat(float value) {
    int bits = Float.floatToRawIntBits(value);
    int sign = (bits >>> 16) & 0x8000;
    int magnitude = bits & 0x7fffffff;
    int half;
    if (magnitude > FLOAT_INFINITY) {
      half = 0x7e00 | ((magnitude >>> 13) & 0x3ff); // NaN stays NaN and becomes quiet
    } else if (magnitude >= FIRST_OVERFLOW) {
      half = 0x7c00;
    } else if (magnitude >= SMALLEST_NORMAL) {
      int toEven = (magnitude >>> 13) & 1;
      half = (magnitude - (112 << 23) + 0xfff + toEven) >>> 13;
    } else {
      // Floats in [0.5, 1) are 2^-24 apart, as are subnormal halfs: the addition rounds.
      half = Float.floatToRawIntBits(Float.intBitsToFloat(magnitude) + 0.5f) - 0x3f000000;
    }
    return (short) (sign | half);
  }
}
