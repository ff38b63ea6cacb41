package org.sparkpeft.merge.compress;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

class ErrorFeedbackTest {
  @Test
  void workedExample() {
    ParameterLayout layout = Vectors.single(4);
    Codec codec = Codec.of(new CodecConfig("topk", 0.25, "global", "mean", 1, true));
    ErrorFeedback.Encoded first =
        ErrorFeedback.encode(
            codec,
            TaskVector.zeros(layout),
            TaskVector.of(layout, new float[] {1, -0.5f, 0.3f, 0.1f}),
            PayloadHeader.of(0, "a", layout));
    assertThat(first.decoded().toArray()).containsExactly(1, 0, 0, 0);
    assertThat(first.residual().toArray()).containsExactly(0, -0.5f, 0.3f, 0.1f);
    ErrorFeedback.Encoded second =
        ErrorFeedback.encode(
            codec,
            first.residual(),
            TaskVector.of(layout, new float[] {0.2f, -0.6f, 0.3f, 0.1f}),
            PayloadHeader.of(1, "a", layout));
    assertThat(second.decoded().toArray())
        .containsExactly(new float[] {0, -1.1f, 0, 0}, within(6e-4f));
    assertThat(second.residual().toArray())
        .containsExactly(new float[] {0.2f, 0, 0.6f, 0.2f}, within(6e-4f));
    assertThat(second.restored().toArray())
        .containsExactly(new float[] {0.2f, -1.1f, 0.6f, 0.2f}, within(1e-6f));
  }

  @ParameterizedTest
  @ValueSource(strings = {"compeft", "topk", "int8", "fp16"})
  void nothingIsLostInAThousandRounds(String name) {
    ParameterLayout layout = Vectors.single(200);
    Codec codec = Codec.of(new CodecConfig(name, 0.05, "global", "mean", 1, true));
    double[] updates = new double[200];
    double[] sent = new double[200];
    TaskVector residual = TaskVector.zeros(layout);
    for (int round = 0; round < 1000; round++) {
      TaskVector update = Vectors.gaussian(layout, round);
      ErrorFeedback.Encoded encoded =
          ErrorFeedback.encode(codec, residual, update, PayloadHeader.of(round, "a", layout));
      residual = encoded.residual();
      for (int i = 0; i < 200; i++) {
        updates[i] += update.get(i);
        sent[i] += encoded.decoded().get(i);
      }
    }
    for (int i = 0; i < 200; i++) {
      assertThat(sent[i] + residual.get(i)).isCloseTo(updates[i], within(1e-5));
    }
    assertThat(residual.norm()).isLessThan(1);
  }
}
