package org.sparkpeft.merge.compress;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/** Published sizes, at four million entries. */
class LargeVectorTest {
  private static final int SIZE = 1 << 22;

  @ParameterizedTest
  @CsvSource({
    "0.01, 6, 0.09108, 0",
    "0.05, 4, 0.33931, 0.33808",
    "0.1, 3, 0.57558, 0.57251",
    "0.2, 2, 0.93875, 0.92787",
    "0.3, 1, 1.18824, 0"
  })
  void riceAndGolombBitsForEachParameter(
      double density, int parameter, double rice, double golomb) {
    float[] values = Vectors.bernoulli(SIZE, density, 17);
    int[] positions = TopKSelection.indices(values, 0, SIZE, SIZE);
    int n = positions.length;
    // What chance added to the number of positions is not the coder's.
    double expected = density * SIZE / n / SIZE;
    int b = RiceCode.bestParameter(positions, 0, n, 0, SIZE);
    assertThat(b).isEqualTo(parameter);
    double riceBits = (RiceCode.bits(positions, 0, n, 0, b) + n) * expected;
    assertThat(riceBits).isCloseTo(rice, within(0.002 * rice));
    int divisor = GolombCode.bestDivisor(positions, 0, n, 0, SIZE);
    double golombBits = (GolombCode.bits(positions, 0, n, 0, divisor) + n) * expected;
    assertThat(golombBits).isLessThanOrEqualTo(riceBits);
    if (golomb > 0) {
      assertThat(golombBits).isCloseTo(golomb, within(0.002 * golomb));
    }
  }

  @Test
  void rangeCoderIsWithinATwentiethOfAPercent() {
    ParameterLayout layout = Vectors.single(SIZE);
    TaskVector update = TaskVector.wrap(layout, Vectors.bernoulli(SIZE, 0.05, 3));
    byte[] bytes =
        Codec.of(Pipeline.parse("threshold(0.1)|ternary(mean)|range"))
            .encode(update, PayloadHeader.of(0, "", layout));
    Payload payload = Payload.decode(bytes, layout);
    assertThat(payload.statistics().overhead()).isBetween(-0.0005, 0.0005);
    for (int i = 0; i < SIZE; i += 7) {
      assertThat(Math.signum(payload.vector().get(i)) == Math.signum(update.get(i))).isTrue();
    }
  }
}
