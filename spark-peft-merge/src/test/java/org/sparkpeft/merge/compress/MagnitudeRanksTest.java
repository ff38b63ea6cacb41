package org.sparkpeft.merge.compress;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Comparator;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class MagnitudeRanksTest {
  @ParameterizedTest
  @ValueSource(ints = {0, 1, 2, 127, 128, 1000, 5000})
  void isTheOrderOfASort(int n) {
    SplittableRandom random = new SplittableRandom(n);
    float[] values = new float[n + 3];
    for (int i = 0; i < values.length; i++) {
      // Many ties, both signs, zeros, and the smallest there is.
      values[i] = (random.nextInt(40) - 20) * (random.nextBoolean() ? 0.25f : 1e30f);
      values[i] = random.nextInt(50) == 0 ? -Float.MIN_VALUE : values[i];
    }
    int[] expected =
        IntStream.range(0, n)
            .boxed()
            .sorted(
                Comparator.<Integer, Float>comparing(i -> Math.abs(values[3 + i]))
                    .thenComparing(Comparator.reverseOrder()))
            .mapToInt(Integer::intValue)
            .toArray();
    assertThat(MagnitudeRanks.ascending(values, 3, n)).isEqualTo(expected);
  }
}
