package org.sparkpeft.core.vector;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.Random;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;

class Nf4Test {
  private static int[] codes(Nf4 numbers) {
    int[] codes = new int[numbers.count()];
    Arrays.setAll(codes, numbers::code);
    return codes;
  }

  @Test
  void fourNumbers() {
    Nf4 numbers = Nf4.quantise(new float[] {0.5f, -1, 0.25f, 0}, 64);
    assertThat(numbers.scales()).containsExactly(1);
    assertThat(codes(numbers)).containsExactly(12, 0, 10, 7);
    assertThat(numbers.packed()).containsExactly((byte) 0xC0, (byte) 0xA7);
    assertThat(numbers.dequantise())
        .containsExactly(0.44070982933044434f, -1, 0.24611230194568634f, 0);
  }

  @Test
  void eightNumbersOfAnotherScale() {
    Nf4 numbers = Nf4.quantise(new float[] {0.5f, -1, 0.25f, 0, 0.1f, 2, -0.4f, -2}, 64);
    assertThat(numbers.scales()).containsExactly(2);
    assertThat(codes(numbers)).containsExactly(10, 2, 9, 7, 8, 15, 5, 0);
    assertThat(numbers.packed())
        .containsExactly((byte) 0xA2, (byte) 0x97, (byte) 0x8F, (byte) 0x50);
    assertThat(numbers.dequantise())
        .containsExactly(
            new float[] {0.4922246f, -1.0501461f, 0.3218604f, 0, 0.1591606f, 2, -0.3695469f, -2},
            Offset.offset(1e-6f));
  }

  @Test
  void normalNumbersLoseLittle() {
    Random random = new Random(1);
    float[] values = new float[64 * 2000];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextGaussian();
    }
    float[] back = Nf4.quantise(values, 64).dequantise();
    double sum = 0;
    for (int i = 0; i < values.length; i++) {
      sum += Math.pow(back[i] - (double) values[i], 2);
    }
    assertThat(Math.sqrt(sum / values.length)).isCloseTo(0.092, Offset.offset(0.003));
  }

  @Test
  void scalesInEightBits() {
    float[] values = new float[128];
    values[0] = 1;
    values[64] = -3;
    Nf4 nested = Nf4.quantise(values, 64).nested();
    Nf4.Nested stored = nested.storedScales().orElseThrow();
    assertThat(stored.offset()).isEqualTo(2);
    assertThat(stored.codes()).containsExactly((byte) 0, (byte) 255);
    assertThat(stored.scales()).containsExactly(1);
    assertThat(nested.scales()).containsExactly(new float[] {1.0070313f, 3}, Offset.offset(1e-6f));
  }

  @Test
  void everyMidpointGoesToTheLowerCode() {
    float[] table = Nf4.table();
    for (int code = 0; code < 15; code++) {
      float middle = (table[code] + table[code + 1]) / 2;
      float[] block = new float[64];
      block[0] = 1;
      block[1] = middle;
      block[2] = Math.nextUp(middle);
      Nf4 numbers = Nf4.quantise(block, 64);
      assertThat(numbers.code(1)).isEqualTo(code);
      assertThat(numbers.code(2)).isEqualTo(code + 1);
      block[1] = table[code];
      assertThat(Nf4.quantise(block, 64).code(1)).isEqualTo(code);
    }
  }

  @Test
  void zeroesShortBlocksAndOddCounts() {
    Nf4 zeroes = Nf4.quantise(new float[65], 64);
    assertThat(zeroes.packed()).hasSize(33).containsOnly((byte) 0x77);
    assertThat(zeroes.scales()).hasSize(2);
    assertThat(zeroes.dequantise()).containsOnly(0f);
    float[] values = new float[35];
    values[33] = 4;
    values[34] = -8;
    Nf4 odd = Nf4.quantise(values, 32);
    assertThat(odd.scales()).containsExactly(0, 8);
    assertThat(odd.packed()[17]).isEqualTo((byte) 0x07);
    assertThat(odd.dequantise()[34]).isEqualTo(-8);
  }

  @Test
  void dynamicMapAsPublished() {
    float[] map = DynamicMap.table();
    assertThat(map).isSorted().hasSize(256);
    assertThat(map[0]).isCloseTo(-0.99296874f, Offset.offset(1e-7f));
    assertThat(map[255]).isEqualTo(1);
    assertThat(map[127]).isZero();
    assertThat(map[128]).isCloseTo(5.5e-7f, Offset.offset(1e-12f));
    assertThat(map[126]).isCloseTo(-5.5e-7f, Offset.offset(1e-12f));
  }

  @Test
  void refusesSizesThatDoNotFit() {
    assertThatThrownBy(() -> Nf4.quantise(new float[4], 48)).hasMessageContaining("got 48");
    assertThatThrownBy(() -> Nf4.of(5, 64, new byte[2], new float[1]))
        .hasMessageContaining("take 3 bytes and 1 scales, got 2 and 1");
  }
}
