package org.sparkpeft.merge.compress;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.api.Test;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

class FeedbackVariantsTest {
  private static final ParameterLayout FOUR = Vectors.single(4);

  @Test
  void momentumIsMaskedWhereSomethingWasSent() {
    Codec codec = Codec.of(Pipeline.parse("topk(0.25)|fp32"));
    TaskVector g1 = TaskVector.of(FOUR, new float[] {1, -0.5f, 0.25f, 0});
    MomentumFeedback start = MomentumFeedback.start(g1);
    MomentumFeedback.Step first = start.encode(codec, 0.5f, g1, PayloadHeader.of(0, "", FOUR));
    assertThat(first.decoded().toArray()).containsExactly(1, 0, 0, 0);
    assertThat(first.next().momentum().toArray()).containsExactly(0, -0.5f, 0.25f, 0);
    assertThat(first.next().residual().toArray()).containsExactly(0, -0.5f, 0.25f, 0);
    assertThat(first.corrected().momentum()).isEqualTo(g1);
    MomentumFeedback.Step second =
        first.next().encode(codec, 0.5f, g1, PayloadHeader.of(1, "", FOUR));
    // u = [1, -.75, .375, 0], v = [1, -1.25, .625, 0]: entry 1 goes.
    assertThat(second.decoded().toArray()).containsExactly(0, -1.25f, 0, 0);
    assertThat(second.next().momentum().toArray()).containsExactly(1, 0, 0.375f, 0);
    assertThat(second.next().residual().toArray()).containsExactly(1, 0, 0.625f, 0);
  }

  /** Sparse ternary compression in both directions: clients and server each keep what was lost. */
  @Test
  void bothDirectionsLoseNothingInTheEnd() {
    ParameterLayout layout = Vectors.single(300);
    Codec codec = Codec.of(Pipeline.parse("topk(0.05)|ternary(stc)"));
    TaskVector[] clients = {TaskVector.zeros(layout), TaskVector.zeros(layout)};
    TaskVector server = TaskVector.zeros(layout);
    double[] wanted = new double[300];
    double[] global = new double[300];
    for (int round = 0; round < 300; round++) {
      TaskVector mean = TaskVector.zeros(layout);
      for (int client = 0; client < 2; client++) {
        TaskVector update = Vectors.gaussian(layout, 2L * round + client);
        ErrorFeedback.Encoded up =
            ErrorFeedback.encode(
                codec, clients[client], update, PayloadHeader.of(round, "c" + client, layout));
        clients[client] = up.residual();
        mean = mean.plus(up.decoded().times(0.5f));
        for (int i = 0; i < 300; i++) {
          wanted[i] += 0.5 * update.get(i);
        }
      }
      ErrorFeedback.Encoded down =
          ErrorFeedback.encode(codec, server, mean, PayloadHeader.of(round, "server", layout));
      server = down.residual();
      for (int i = 0; i < 300; i++) {
        global[i] += down.decoded().get(i);
      }
    }
    for (int i = 0; i < 300; i++) {
      double owed = server.get(i) + 0.5 * clients[0].get(i) + 0.5 * clients[1].get(i);
      assertThat(global[i] + owed).isCloseTo(wanted[i], within(1e-5));
    }
    assertThat(server.norm()).isLessThan(1);
  }

  @Test
  void comPeftSearchesItsGrid() {
    TaskVector tau = TaskVector.of(Vectors.single(8), TopKSelectionTest.TAU);
    float c = 0.5437551f;
    assertThat(ComPeft.compress(tau, 0.5, 1).toArray())
        .containsExactly(new float[] {c, 0, c, -c, 0, 0, 0, -c}, within(1e-7f));
    assertThat(ComPeft.compress(tau, 1, 3)).isEqualTo(tau);
    assertThat(ComPeft.compressDataFree(tau, 0.5).toArray())
        .containsExactly(new float[] {.675f, 0, .675f, -.675f, 0, 0, 0, -.675f}, within(1e-7f));
    ComPeft.Choice best =
        ComPeft.search(tau, ComPeft.DENSITIES, ComPeft.ALPHAS, v -> -v.minus(tau).norm());
    assertThat(best.density()).isEqualTo(0.5);
    assertThat(best.alpha()).isEqualTo(1);
    assertThat(best.vector()).isEqualTo(ComPeft.compress(tau, 0.5, 1));
    assertThat(best.score()).isCloseTo(-Math.sqrt(0.153873) * tau.norm(), within(1e-4));
  }
}
