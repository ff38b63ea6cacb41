package org.sparkpeft.merge.compress;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

class PipelineTest {
  private static final ParameterLayout SMALL =
      ParameterLayout.of(
          Map.of("a", List.of(8, 96), "b", List.of(96, 8), "c", List.of(77), "d", List.of()));
  private static final List<String> SPARSIFIERS =
      List.of(
          "all",
          "topk(0.1)",
          "topk(0.1, tensor)",
          "rowtopk(0.2)",
          "threshold(0.001)",
          "randomk(0.1)",
          "breadcrumbs(0.2, 0.05)",
          "dare(0.3)",
          "della(0.3, 0.1)");
  private static final List<String> QUANTISERS =
      List.of(
          "fp32",
          "fp16",
          "bf16",
          "int8",
          "int4(stochastic)",
          "int2",
          "ternary(mean)",
          "ternary(sigma, 2)",
          "ternary(stc)",
          "sign(0.001)",
          "qsgd(4)");
  private static final List<String> CODERS =
      List.of("auto", "range", "rans", "rice", "golomb", "bitmask", "base3", "list");

  /** Every sparsifier with every quantiser. */
  static final List<String> ALL = all();

  private static List<String> all() {
    List<String> pipelines = new ArrayList<>();
    for (String sparsifier : SPARSIFIERS) {
      for (String quantiser : QUANTISERS) {
        pipelines.add(sparsifier + "|" + quantiser);
      }
    }
    return List.copyOf(pipelines);
  }

  static List<String> pipelines() {
    return ALL;
  }

  private static Payload through(String pipeline, TaskVector update) {
    PayloadHeader header = PayloadHeader.of(5, "c", update.layout());
    byte[] bytes = Codec.of(Pipeline.parse(pipeline)).encode(update, header);
    return Payload.decode(bytes, update.layout());
  }

  @ParameterizedTest
  @MethodSource("pipelines")
  void theCoderChangesBytesButNeverValues(String pipeline) {
    TaskVector update = Vectors.gaussian(SMALL, 21);
    Payload auto = through(pipeline, update);
    assertThat(auto.statistics().kept()).isGreaterThan(update.size() / 50);
    for (String coder : CODERS) {
      Payload other = through(pipeline + "|" + coder, update);
      assertThat(other.vector()).as(coder).isEqualTo(auto.vector());
      assertThat(other.statistics().payloadBytes())
          .as(coder)
          .isGreaterThanOrEqualTo(auto.statistics().payloadBytes());
    }
  }

  @ParameterizedTest
  @MethodSource("pipelines")
  void oddLayoutsAndZerosAreFine(String pipeline) {
    for (int size : new int[] {1, 2, 63, 65, 1000}) {
      ParameterLayout layout = Vectors.single(size);
      assertThat(through(pipeline, Vectors.gaussian(layout, size)).vector().isFinite()).isTrue();
      float[] zeros = through(pipeline, TaskVector.zeros(layout)).vector().toArray();
      if (!pipeline.contains("sign")) {
        assertThat(zeros).containsOnly(0f);
      }
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = ';',
      value = {
        "topk(0.1); a quantiser must follow",
        "topk(0.1)|rice; there is no stage rice here",
        "topk(2)|fp16; density must be in (0, 1], got 2.0",
        "topk|fp16; topk needs 1 numbers",
        "topk(x)|fp16; needs a number in place 1, got x",
        "topk(0.1, row)|fp16; takes global or tensor, got row",
        "topk(0.1, tensor, 3)|fp16; at most 2 arguments",
        "fp16|huffman; coders are auto",
        "fp16|rice|rice; nothing may follow the coder",
        "qsgd(0); qsgd needs 1..127 levels, got 0.0",
        "qsgd(1.5); qsgd needs 1..127 levels, got 1.5",
        "della(0.3, 0.3)|fp16; density +- epsilon",
        "ternary(max); takes mean or sigma or stc, got max",
        "ternary(mean, -1); factor above 0",
        "fp16||rice; stages look like",
        "top k(1)|fp16; stages look like",
      })
  void mistakesAreNamed(String pipeline, String message) {
    assertThatThrownBy(() -> CodecConfig.ofPipeline(pipeline))
        .isInstanceOf(ConfigException.class)
        .hasMessageStartingWith("pipeline: ")
        .hasMessageContaining(message);
  }

  @Test
  void namedCodecsArePipelines() {
    assertThat(Codec.of(CodecConfig.defaults()).pipeline())
        .hasToString("topk(0.1)|ternary(mean, 1.0)");
    assertThat(Codec.of(CodecConfig.ofPipeline("topk(0.05)|fp16|rice")).pipeline())
        .hasToString("topk(0.05)|fp16|rice");
  }

  @ParameterizedTest
  @CsvSource({
    "all|int8, 1.0",
    "all|int4, 0.9",
    "all|int2, 0.75",
    "all|qsgd(1), 0.6",
    "all|ternary(stc), 1.01"
  })
  void coarseLevelsCostLessThanTheirBits(String pipeline, double most) {
    TaskVector update = Vectors.gaussian(Vectors.adapter(77), 2);
    PayloadStatistics statistics = through(pipeline, update).statistics();
    assertThat(statistics.bits() / statistics.boundBits()).isLessThan(most);
  }

  @Test
  void randomKeepsTheSameEntriesForAllClientsAndIsRightOnAverage() {
    ParameterLayout layout = Vectors.single(40);
    TaskVector update = Vectors.gaussian(layout, 1);
    Codec codec = Codec.of(Pipeline.parse("randomk(0.25)|fp32"));
    double[] mean = new double[40];
    int rounds = 4000;
    for (int round = 0; round < rounds; round++) {
      float[] one = decode(codec, update, round, "one");
      assertThat(decode(codec, update, round, "two")).isEqualTo(one);
      for (int i = 0; i < 40; i++) {
        mean[i] += one[i] / rounds;
      }
    }
    for (int i = 0; i < 40; i++) {
      // One standard error is |v| sqrt(3 / rounds).
      double v = update.get(i);
      assertThat(mean[i]).isCloseTo(v, within(5 * Math.abs(v) * Math.sqrt(3.0 / rounds)));
    }
    byte[] bytes = codec.encode(update, PayloadHeader.of(0, "", layout));
    assertThat(bytes.length).isEqualTo(17 + 4 + 1 + 40);
  }

  private static float[] decode(Codec codec, TaskVector update, int round, String client) {
    byte[] bytes = codec.encode(update, PayloadHeader.of(round, client, update.layout()));
    return Payload.decode(bytes, update.layout()).vector().toArray();
  }

  @Test
  void rowsOfUnequalDensityCostLessThanThePerTensorBound() {
    ParameterLayout layout = ParameterLayout.of(Map.of("a", List.of(8, 3072)));
    float[] values = Vectors.gaussian(layout, 6).toArray();
    for (int i = 0; i < values.length; i++) {
      values[i] *= (float) Math.pow(0.6, Math.floorDiv(i, 3072));
    }
    PayloadStatistics rows =
        through("topk(0.05)|ternary(mean)", TaskVector.wrap(layout, values)).statistics();
    assertThat(rows.overhead()).isLessThan(-0.15);
    ParameterLayout transposed = ParameterLayout.of(Map.of("a", List.of(3072, 8)));
    float[] turned = new float[values.length];
    for (int i = 0; i < values.length; i++) {
      turned[i % 3072 * 8 + i / 3072] = values[i];
    }
    PayloadStatistics columns =
        through("topk(0.05)|ternary(mean)", TaskVector.wrap(transposed, turned)).statistics();
    assertThat(columns.payloadBytes()).isCloseTo(rows.payloadBytes(), within(8));
  }

  @ParameterizedTest
  @ValueSource(strings = {"topk(0.05)|ternary(mean)|rice", "topk(0.1)|ternary(mean)|rice"})
  void riceAloneIsAFewPercentAboveOnSmallTensors(String pipeline) {
    TaskVector update = Vectors.gaussian(Vectors.adapter(77), 5);
    double rice = through(pipeline, update).statistics().overhead();
    double golomb = through(pipeline.replace("rice", "golomb"), update).statistics().overhead();
    double range = through(pipeline.replace("rice", "range"), update).statistics().overhead();
    assertThat(rice).isBetween(0.015, 0.06);
    // Sparse tensors need a byte more for a divisor beyond the tag.
    assertThat(golomb).isBetween(0.01, rice + 0.004);
    assertThat(range).isLessThan(0.015);
  }

  @Test
  void publishedQsgdExample() {
    float[] v = {0.3f, -0.4f, 0, 1.2f};
    double[] u = {.10, .50, .90, .60};
    float norm = Qsgd.norm(v, 0, 4);
    assertThat(norm).isCloseTo(1.3f, within(1e-6f));
    float[] expected = {0.325f, -0.325f, 0, 1.3f};
    int[] levels = {1, -1, 0, 4};
    for (int i = 0; i < 4; i++) {
      assertThat(Qsgd.level(v[i], norm, 4, u[i])).isEqualTo(levels[i]);
      assertThat(Qsgd.value(norm, levels[i], 4)).isCloseTo(expected[i], within(1e-6f));
    }
  }

  @Test
  void scaledSignsWithFeedbackAreTheWorkedExample() {
    ParameterLayout layout = Vectors.single(4);
    TaskVector p = TaskVector.of(layout, new float[] {0.4f, -0.2f, 0.1f, -0.1f});
    ErrorFeedback.Encoded encoded =
        ErrorFeedback.encode(
            Codec.of(Pipeline.parse("all|ternary(stc)")),
            TaskVector.zeros(layout),
            p,
            PayloadHeader.of(0, "", layout));
    assertThat(encoded.decoded().toArray())
        .containsExactly(new float[] {.2f, -.2f, .2f, -.2f}, within(1e-7f));
    assertThat(encoded.residual().toArray())
        .containsExactly(new float[] {.2f, 0, -.1f, .1f}, within(1e-7f));
  }
}
