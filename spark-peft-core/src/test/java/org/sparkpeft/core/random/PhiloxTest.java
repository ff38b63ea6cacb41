package org.sparkpeft.core.random;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import org.junit.jupiter.api.Test;

class PhiloxTest {

  @Test
  void streamsAreApartAndAddressable() {
    Philox a = Philox.of(7, "dropout", 1, 2);
    assertThat(a.longAt(5)).isEqualTo(Philox.of(7, "dropout", 1, 2).longAt(5));
    assertThat(a.longAt(5)).isNotEqualTo(Philox.of(7, "dropout", 2, 1).longAt(5));
    assertThat(a.longAt(5)).isNotEqualTo(Philox.of(8, "dropout", 1, 2).longAt(5));
    assertThat(a.longAt(5)).isNotEqualTo(Philox.of(7, "cohort", 1, 2).longAt(5));
    assertThat(a.child(1).longAt(0)).isNotEqualTo(a.child(2).longAt(0));
    int[] block = new int[4];
    a.block(3, block);
    assertThat(a.intAt(13)).isEqualTo(block[1]);
  }

  @Test
  void uniformAndNormalHaveTheirMoments() {
    Philox random = Philox.of(1, "moments");
    float[] uniform = random.uniform(200_000, -2, 4);
    assertThat(mean(uniform)).isCloseTo(1, within(0.02));
    assertThat(variance(uniform)).isCloseTo(3, within(0.03));
    for (float value : uniform) {
      assertThat(value).isBetween(-2f, 4f);
    }
    float[] normal = random.gaussian(200_000, 0.5);
    assertThat(mean(normal)).isCloseTo(0, within(0.005));
    assertThat(variance(normal)).isCloseTo(0.25, within(0.005));
  }

  @Test
  void permutationsArePermutations() {
    for (int n : new int[] {0, 1, 2, 17, 1000}) {
      int[] order = Philox.of(3, "shuffle", n).permutation(n);
      int[] sorted = order.clone();
      Arrays.sort(sorted);
      for (int i = 0; i < n; i++) {
        assertThat(sorted[i]).isEqualTo(i);
      }
    }
    assertThat(Philox.of(3, "shuffle", 1000).permutation(1000))
        .isNotEqualTo(Philox.of(4, "shuffle", 1000).permutation(1000));
  }

  private static double mean(float[] values) {
    double sum = 0;
    for (float value : values) {
      sum += value;
    }
    return sum / values.length;
  }

  private static double variance(float[] values) {
    double mean = mean(values);
    double sum = 0;
    for (float value : values) {
      sum += (value - mean) * (value - mean);
    }
    return sum / values.length;
  }

  @Test
  void manyNumbersAreThoseOfEachPosition() {
    Philox random = Philox.of(9, "many");
    for (long from : new long[] {0, 1, 2, 7, 28_000_000_003L}) {
      for (int n : new int[] {1, 3, 9, 41}) {
        int[] many = new int[n];
        random.ints(from, n, many);
        for (int i = 0; i < n; i++) {
          assertThat(many[i]).isEqualTo(random.intAt(from + i));
        }
      }
    }
  }
}
