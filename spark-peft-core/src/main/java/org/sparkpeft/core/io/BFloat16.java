package org.sparkpeft.core.io;

/**
 * bfloat16: the upper half of a float. Widening is exact; narrowing rounds to nearest, ties to
 * even.
 */
public final class BFloat16 {
  private BFloat16() {}

  /** The float with the same value as the bfloat16 with these bits. */
  public static float toFloat(short bits) {
    return Float.intBitsToFloat(bits << 16);
  }

  /** The bits of the bfloat16 nearest to {@code value}; NaN stays NaN and becomes quiet. */
  public static short fromFloat(float value) {
    int bits = Float.floatToRawIntBits(value);
    if ((bits & 0x7fffffff) > 0x7f800000) {
      return (short) ((bits >>> 16) | 0x40);
    }
    return (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
  }
}
