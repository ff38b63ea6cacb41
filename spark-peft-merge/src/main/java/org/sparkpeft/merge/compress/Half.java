package org.sparkpeft.merge.compress;

/**
 * IEEE 754 binary16 and bfloat16, as bits in the low half of an int. Conversion rounds to nearest,
 * ties to even. (The JDK has binary16 only from version 20 on.)
 */
final class Half {
  /** Largest finite binary16. */
  static final float MAX = 65504f;

  private Half() {}

  /** The binary16 bits of {@code value}; magnitudes from 65520 up become infinity. */
  static int toBits(float value) {
    int bits = Float.floatToRawIntBits(value);
    int sign = (bits >>> 16) & 0x8000;
    int magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) {
      return sign | 0x7e00;
    }
    if (magnitude >= 0x47800000) {
      return sign | 0x7c00;
    }
    if (magnitude >= 0x38800000) {
      // Normal: rebias the exponent, then round away 13 bits; a carry moves into the exponent.
      int rebiased = magnitude - 0x38000000;
      return sign | ((rebiased + 0x0fff + ((rebiased >>> 13) & 1)) >>> 13);
    }
    if (magnitude < 0x33000000) {
      return sign;
    }
    // Subnormal: the unit is 2^-24.
    int exponent = magnitude >>> 23;
    int significand = (magnitude & 0x7fffff) | 0x800000;
    int shift = 126 - exponent;
    int kept = significand >>> shift;
    int rest = significand & ((1 << shift) - 1);
    int middle = 1 << (shift - 1);
    if (rest > middle || (rest == middle && (kept & 1) != 0)) {
      kept++;
    }
    return sign | kept;
  }

  /** The value of binary16 bits; exact. */
  static float fromBits(int bits) {
    int sign = (bits & 0x8000) << 16;
    int exponent = (bits >>> 10) & 0x1f;
    int significand = bits & 0x3ff;
    if (exponent == 0) {
      float value = significand * 0x1p-24f;
      return sign == 0 ? value : -value;
    }
    if (exponent == 31) {
      return Float.intBitsToFloat(sign | 0x7f800000 | (significand << 13));
    }
    return Float.intBitsToFloat(sign | ((exponent + 112) << 23) | (significand << 13));
  }

  /** The bfloat16 bits of a finite {@code value}; may round up to infinity. */
  static int toBrainBits(float value) {
    int bits = Float.floatToRawIntBits(value);
    return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
  }

  /** The value of bfloat16 bits; exact. */
  static float fromBrainBits(int bits) {
    return Float.intBitsToFloat(bits << 16);
  }
}
