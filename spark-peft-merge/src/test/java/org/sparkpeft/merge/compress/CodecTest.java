package org.sparkpeft.merge.compress;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

class CodecTest {
  private static CodecConfig compeft(double density, String selection, String scale, double alpha) {
    return new CodecConfig("compeft", density, selection, scale, alpha, false);
  }

  private static CodecConfig named(String codec) {
    return new CodecConfig(codec, 0.1, "global", "mean", 1, false);
  }

  private static Payload through(CodecConfig config, TaskVector vector) {
    PayloadHeader header = PayloadHeader.of(3, "client-7", vector.layout());
    Payload payload = Payload.decode(Codec.of(config).encode(vector, header), vector.layout());
    assertThat(payload.header()).isEqualTo(header);
    return payload;
  }

  private static float[] decoded(CodecConfig config, float... values) {
    return through(config, TaskVector.of(Vectors.single(values.length), values)).vector().toArray();
  }

  @Test
  void sigmaIsTheSampleDeviationOfTheUnprunedVector() {
    float c = 0.5437551f;
    assertThat(decoded(compeft(0.5, "global", "sigma", 1), TopKSelectionTest.TAU))
        .containsExactly(new float[] {c, 0, c, -c, 0, 0, 0, -c}, within(1e-7f));
    assertThat(decoded(compeft(0.25, "global", "sigma", 2), TopKSelectionTest.TAU))
        .containsExactly(new float[] {2 * c, 0, 0, -2 * c, 0, 0, 0, 0}, within(1e-6f));
  }

  @Test
  void meanIsTheLeastSquaresScale() {
    float[] decoded = decoded(compeft(0.5, "global", "mean", 1), TopKSelectionTest.TAU);
    assertThat(decoded)
        .containsExactly(new float[] {.675f, 0, .675f, -.675f, 0, 0, 0, -.675f}, within(1e-7f));
    assertThat(relativeError(decoded)).isCloseTo(0.120627, within(1e-6));
    assertThat(relativeError(decoded(compeft(0.5, "global", "sigma", 1), TopKSelectionTest.TAU)))
        .isCloseTo(0.153873, within(1e-6));
  }

  private static double relativeError(float[] decoded) {
    double error = 0;
    double norm = 0;
    for (int i = 0; i < decoded.length; i++) {
      double tau = TopKSelectionTest.TAU[i];
      error += (decoded[i] - tau) * (decoded[i] - tau);
      norm += tau * tau;
    }
    return error / norm;
  }

  @Test
  void constantVectorHasNoDeviationAndSendsNothing() {
    Payload payload =
        through(
            compeft(0.5, "global", "sigma", 1),
            TaskVector.of(Vectors.single(4), new float[] {2, 2, 2, 2}));
    assertThat(payload.vector().toArray()).containsOnly(0f);
    assertThat(payload.statistics().kept()).isZero();
  }

  @ParameterizedTest
  @CsvSource({"0.05, mean", "0.1, mean", "0.05, sigma", "0.1, sigma", "0.2, mean", "0.01, mean"})
  void ternaryAdapterIsWithinThreePercentOfTheBound(double density, String scale) {
    TaskVector update = Vectors.gaussian(Vectors.adapter(77), 5);
    assertThat(update.size()).isGreaterThan(100_000);
    PayloadStatistics statistics =
        through(compeft(density, "global", scale, 1), update).statistics();
    assertThat(statistics.kept()).isEqualTo((long) (density * update.size()));
    assertThat(statistics.overhead())
        .as(
            "%d bytes against %.1f at density %s",
            statistics.payloadBytes(), statistics.boundBits() / 8, density)
        .isLessThan(density < 0.05 ? 0.06 : 0.03);
  }

  @ParameterizedTest
  @ValueSource(strings = {"compeft", "topk", "int8", "fp16", "none"})
  void zerosAreFineForEveryCodec(String codec) {
    TaskVector zeros = TaskVector.zeros(Vectors.adapter(3));
    Payload payload = through(named(codec), zeros);
    assertThat(payload.vector()).isEqualTo(zeros);
  }

  @ParameterizedTest
  @ValueSource(strings = {"compeft", "topk", "int8", "fp16", "none"})
  void extremeMagnitudesStayFinite(String codec) {
    float[] values = {Float.MAX_VALUE, -Float.MAX_VALUE, Float.MIN_VALUE, 1, -1e-30f};
    assertThat(decoded(named(codec), values)[0]).isGreaterThan(3.3e38f);
    assertThat(decoded(named(codec), Float.MIN_VALUE, -Float.MIN_VALUE)).hasSize(2);
  }

  @Test
  void fullPrecisionKeepsEveryBit() {
    TaskVector update = Vectors.gaussian(Vectors.adapter(2), 1);
    Payload payload = through(named("none"), update);
    assertThat(payload.vector()).isEqualTo(update);
    assertThat(payload.statistics().boundBits()).isEqualTo(32.0 * update.size());
  }

  @Test
  void halfPrecisionKeepsElevenBitsOfTinyUpdates() {
    TaskVector update = Vectors.gaussian(Vectors.single(1000), 1).times(1e-9f);
    float[] decoded = through(named("fp16"), update).vector().toArray();
    for (int i = 0; i < 1000; i++) {
      assertThat(Math.abs(decoded[i] - update.get(i)))
          .isLessThanOrEqualTo(Math.abs(update.get(i)) * 0x1p-11f + 1e-20f);
    }
  }

  @Test
  void eightBitErrorIsAtMostHalfAStep() {
    TaskVector update = Vectors.gaussian(Vectors.single(1000), 2);
    Payload payload = through(named("int8"), update);
    for (int start = 0; start < 1000; start += 256) {
      float max = 0;
      for (int i = start; i < Math.min(1000, start + 256); i++) {
        max = Math.max(max, Math.abs(update.get(i)));
      }
      for (int i = start; i < Math.min(1000, start + 256); i++) {
        assertThat(Math.abs(payload.vector().get(i) - update.get(i)))
            .isLessThanOrEqualTo(max / 127 * 0.501f);
      }
    }
    assertThat(payload.statistics().payloadBytes()).isLessThan(1000 + 4 * 2 + 40);
  }

  @Test
  void stochasticRoundingIsRightOnAverageAndRepeatable() {
    CodecConfig config =
        new CodecConfig("int8", 0.1, "global", "mean", 1, false, 1, "stochastic", "");
    ParameterLayout layout = Vectors.single(3);
    TaskVector update = TaskVector.of(layout, new float[] {127, 0.3f, -2.7f});
    double[] sums = new double[3];
    int rounds = 4000;
    for (int round = 0; round < rounds; round++) {
      PayloadHeader header = PayloadHeader.of(round, "a", layout);
      byte[] bytes = Codec.of(config).encode(update, header);
      assertThat(Codec.of(config).encode(update, header)).isEqualTo(bytes);
      TaskVector decoded = Payload.decode(bytes, layout).vector();
      for (int i = 0; i < 3; i++) {
        sums[i] += decoded.get(i) / rounds;
      }
    }
    assertThat(sums[1]).isCloseTo(0.3, within(0.03));
    assertThat(sums[2]).isCloseTo(-2.7, within(0.03));
  }

  @Test
  void integersOfTheWorkedExample() {
    float scale8 = 1f / 127;
    float scale4 = 1f / 7;
    float[] v = {0.5f, -1, 0.26f, 0};
    int[] eight = new int[4];
    int[] four = new int[4];
    for (int i = 0; i < 4; i++) {
      eight[i] = BlockInteger.integer(v[i], scale8, 127, 0.25);
      four[i] = BlockInteger.integer(v[i], scale4, 7, 0.25);
    }
    assertThat(eight).containsExactly(63, -127, 33, 0);
    assertThat(four).containsExactly(3, -7, 2, 0);
  }

  @Test
  void topKSendsHalfPrecisionValues() {
    TaskVector update = Vectors.gaussian(Vectors.adapter(2), 4);
    Payload payload = through(named("topk"), update);
    assertThat(payload.statistics().kept()).isEqualTo((long) (0.1 * update.size()));
    assertThat(payload.statistics().overhead()).isLessThan(0.01);
    for (int i = 0; i < update.size(); i++) {
      float got = payload.vector().get(i);
      assertThat(got == 0 || Math.abs(got / update.get(i) - 1) < 0x1p-11f).isTrue();
    }
  }

  @ParameterizedTest
  @ValueSource(doubles = {0, 0.001, 0.01, 0.05, 0.1, 0.3, 0.5, 1})
  void roundTripAtAllDensitiesAndOddSizes(double density) {
    for (int size : new int[] {1, 2, 63, 64, 65, 1000, (1 << 16) + 1}) {
      float[] values = Vectors.bernoulli(size, density, 9);
      for (int i = 0; i < size; i++) {
        values[i] = Math.signum(values[i]);
      }
      assertThat(decoded(compeft(1, "global", "mean", 1), values))
          .as("%d entries at %s", size, density)
          .isEqualTo(values);
    }
  }

  @Test
  void sectionsWinWhenHardlyAnythingIsKeptOfMuch() {
    float[] values = new float[1 << 22];
    values[77] = 1;
    values[4_000_000] = -1;
    CodecConfig config = compeft(1e-6, "global", "mean", 1);
    Payload payload = through(config, TaskVector.wrap(Vectors.single(values.length), values));
    assertThat(payload.vector().toArray()).isEqualTo(values);
    assertThat(payload.statistics().payloadBytes()).isLessThan(50);
  }

  @Test
  void nonFiniteUpdateIsRefused() {
    for (String codec : CodecConfig.CODECS) {
      assertThatThrownBy(() -> decoded(named(codec), 1, Float.NaN, 2))
          .as(codec)
          .isInstanceOf(NonFiniteUpdateException.class)
          .hasMessageContaining("entry 1");
    }
  }

  @Test
  void anotherLayoutIsRefusedOnBothSides() {
    TaskVector update = Vectors.gaussian(Vectors.single(10), 1);
    PayloadHeader other = PayloadHeader.of(0, "", Vectors.single(11));
    Codec codec = Codec.of(CodecConfig.defaults());
    assertThatThrownBy(() -> codec.encode(update, other))
        .isInstanceOf(IllegalArgumentException.class);
    byte[] bytes = codec.encode(update, PayloadHeader.of(0, "", update.layout()));
    assertThatThrownBy(() -> Payload.decode(bytes, Vectors.single(11)))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("same model and method");
  }

  @Test
  void clientIdsAreBoundedUnicode() {
    ParameterLayout layout = Vectors.single(1);
    assertThat(PayloadHeader.of(0, "клиент", layout).clientId()).isEqualTo("клиент");
    assertThatThrownBy(() -> PayloadHeader.of(0, "é".repeat(128), layout))
        .hasMessageContaining("at most 255 bytes");
    assertThatThrownBy(() -> PayloadHeader.of(0, "\ud800", layout))
        .isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> PayloadHeader.of(-1, "a", layout))
        .isInstanceOf(IllegalArgumentException.class);
  }

  @Test
  void statisticsNameEachTensor() {
    ParameterLayout layout = ParameterLayout.of(Map.of("a", List.of(8), "b", List.of(2, 4)));
    float[] values = new float[16];
    values[3] = 1;
    values[8] = 2;
    values[9] = -2;
    PayloadStatistics statistics =
        through(compeft(1, "global", "mean", 1), TaskVector.wrap(layout, values)).statistics();
    assertThat(statistics.sections())
        .containsExactly(
            new PayloadStatistics.Section("a", 8, 1), new PayloadStatistics.Section("b", 8, 2));
    assertThat(statistics.boundBits())
        .isCloseTo(
            EntropyBound.ternaryBits(8, 1) + EntropyBound.ternaryBits(8, 2) + 64, within(1e-9));
  }
}
