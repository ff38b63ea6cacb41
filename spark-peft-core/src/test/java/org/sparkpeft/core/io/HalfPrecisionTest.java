package org.sparkpeft.core.io;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.function.Function;
import org.junit.jupiter.api.Test;

class HalfPrecisionTest {

  /** The value by definition: (-1)^s 2^(e-bias) 1.f, subnormal 2^(1-bias) 0.f. */
  private static double byDefinition(int bits, int fractionBits, int bias) {
    int sign = (bits & 0x8000) == 0 ? 1 : -1;
    int exponent = (bits & 0x7fff) >> fractionBits;
    double fraction = (bits & ((1 << fractionBits) - 1)) / (double) (1 << fractionBits);
    int top = (1 << (15 - fractionBits)) - 1;
    if (exponent == top) {
      return fraction == 0 ? sign * Double.POSITIVE_INFINITY : Double.NaN;
    }
    return sign
        * (exponent == 0
            ? Math.scalb(fraction, 1 - bias)
            : Math.scalb(1 + fraction, exponent - bias));
  }

  private static void assertWidensExactly(
      Function<Short, Float> widen, int fractionBits, int bias) {
    for (int bits = 0; bits <= 0xffff; bits++) {
      double expected = byDefinition(bits, fractionBits, bias);
      float actual = widen.apply((short) bits);
      // compare() tells -0 from 0 and treats NaN as equal to itself.
      assertThat(Double.compare(expected, actual)).as("bits %04x", bits).isZero();
    }
  }

  @Test
  void widensEveryHalf() {
    assertWidensExactly(Float16::toFloat, 10, 15);
  }

  @Test
  void widensEveryBfloat16() {
    assertWidensExactly(BFloat16::toFloat, 7, 127);
  }

  @Test
  void keepsThePayloadOfNaN() {
    assertThat(Float.floatToRawIntBits(Float16.toFloat((short) 0xfe01))).isEqualTo(0xffc02000);
  }

  @Test
  void narrowingUndoesWidening() {
    for (int bits = 0; bits <= 0xffff; bits++) {
      short half = (short) bits;
      if (!Float.isNaN(Float16.toFloat(half))) {
        assertThat(Float16.fromFloat(Float16.toFloat(half))).as("%04x", bits).isEqualTo(half);
      }
      if (!Float.isNaN(BFloat16.toFloat(half))) {
        assertThat(BFloat16.fromFloat(BFloat16.toFloat(half))).as("%04x", bits).isEqualTo(half);
      }
    }
    assertThat(Float16.toFloat(Float16.fromFloat(Float.NaN))).isNaN();
    assertThat(BFloat16.toFloat(BFloat16.fromFloat(Float.intBitsToFloat(0x7f800001)))).isNaN();
  }

  private static void assertRoundsToNearestEven(
      Function<Short, Float> widen, Function<Float, Short> narrow, int infinity) {
    for (int bits = 0; bits < infinity; bits++) {
      double low = widen.apply((short) bits);
      // Past the largest finite value the next step is where infinity would be.
      double high =
          bits + 1 < infinity
              ? widen.apply((short) (bits + 1))
              : low + (low - widen.apply((short) (bits - 1)));
      float middle = (float) ((low + high) / 2);
      int even = (bits & 1) == 0 ? bits : bits + 1;
      assertThat(narrow.apply(middle)).as("%04x, middle", bits).isEqualTo((short) even);
      assertThat(narrow.apply(Math.nextDown(middle))).as("below").isEqualTo((short) bits);
      assertThat(narrow.apply(Math.nextUp(middle))).as("above").isEqualTo((short) (bits + 1));
      assertThat(narrow.apply(-middle)).as("negative").isEqualTo((short) (even | 0x8000));
    }
  }

  @Test
  void halfRoundsToNearestTiesToEven() {
    assertRoundsToNearestEven(Float16::toFloat, Float16::fromFloat, 0x7c00);
    assertThat(Float16.fromFloat(Float.MAX_VALUE)).isEqualTo((short) 0x7c00);
    assertThat(Float16.fromFloat(Float.MIN_VALUE)).isZero();
    assertThat(Float16.fromFloat(-0f)).isEqualTo((short) 0x8000);
  }

  @Test
  void bfloat16RoundsToNearestTiesToEven() {
    assertRoundsToNearestEven(BFloat16::toFloat, BFloat16::fromFloat, 0x7f80);
    assertThat(BFloat16.fromFloat(Float.MAX_VALUE)).isEqualTo((short) 0x7f80);
  }
}
