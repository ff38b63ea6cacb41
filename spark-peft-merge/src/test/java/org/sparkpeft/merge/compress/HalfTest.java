package org.sparkpeft.merge.compress;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class HalfTest {
  @Test
  void everyHalfSurvives() {
    for (int bits = 0; bits < 1 << 16; bits++) {
      float value = Half.fromBits(bits);
      if (!Float.isNaN(value)) {
        assertThat(Half.toBits(value)).as("%04x", bits).isEqualTo(bits);
      }
    }
  }

  @Test
  void roundsToTheNearestAndTiesToEven() {
    for (int bits = 0; bits < 0x7bff; bits++) {
      double low = Half.fromBits(bits);
      double high = Half.fromBits(bits + 1);
      float middle = (float) ((low + high) / 2);
      int even = (bits & 1) == 0 ? bits : bits + 1;
      assertThat(Half.toBits(middle)).as("%04x", bits).isEqualTo(even);
      assertThat(Half.toBits(Math.nextDown(middle))).as("%04x", bits).isEqualTo(bits);
      assertThat(Half.toBits(-Math.nextUp(middle))).isEqualTo((bits + 1) | 0x8000);
    }
  }

  @Test
  void tooLargeBecomesInfinite() {
    assertThat(Half.toBits(65519.99f)).isEqualTo(0x7bff);
    assertThat(Half.toBits(65520f)).isEqualTo(0x7c00);
    assertThat(Half.toBits(Float.NaN)).isEqualTo(0x7e00);
    assertThat(Half.toBits(Float.MIN_VALUE)).isZero();
  }

  @Test
  void brainFloatIsTheUpperHalf() {
    assertThat(Half.fromBrainBits(Half.toBrainBits(1.0f))).isEqualTo(1.0f);
    assertThat(Half.fromBrainBits(Half.toBrainBits(0x1.01p0f))).isEqualTo(1.0f);
    assertThat(Half.fromBrainBits(Half.toBrainBits(0x1.03p0f))).isEqualTo(1.015625f);
  }
}
