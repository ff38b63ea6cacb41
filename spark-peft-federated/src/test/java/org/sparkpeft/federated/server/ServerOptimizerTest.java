package org.sparkpeft.federated.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.core.vector.TaskVector;

class ServerOptimizerTest {
  private static final ParameterLayout LAYOUT = ParameterLayout.of(Map.of("w", List.of(2)));

  /**
   * Worked out by hand from the update rules, two steps with aggregates (0.1, -0.2) and (0.05,
   * 0.1), from x = 0.
   */
  @ParameterizedTest
  @CsvSource({
    "adam, 0.1, 0, 0.090503, -0.095126, 0.205451, -0.129471",
    "yogi, 0.1, 0, 0.090499, -0.095125, 0.205018, -0.129338",
    "adagrad, 0.1, 0, 0.099005, -0.099501, 0.143328, -0.054979",
    "sgd, 1, 0.9, 0.1, -0.2, 0.24, -0.28",
    "sgd, 1, 0, 0.1, -0.2, 0.15, -0.1",
    "sgd, 0.5, 0, 0.05, -0.1, 0.075, -0.05",
  })
  void twoSteps(
      String optimizer, double rate, double momentum, float x11, float x12, float x21, float x22) {
    ServerOptimizer server =
        ServerOptimizer.of(new ServerConfig(optimizer, rate, momentum, 0.9, 0.99, 1e-3));
    ServerState state = server.initial(ParameterVector.zeros(LAYOUT));

    state = server.step(state, TaskVector.of(LAYOUT, new float[] {0.1f, -0.2f}));
    assertThat(state.parameters().toArray()).containsExactly(new float[] {x11, x12}, within(1e-6f));

    state = server.step(state, TaskVector.of(LAYOUT, new float[] {0.05f, 0.1f}));
    assertThat(state.parameters().toArray()).containsExactly(new float[] {x21, x22}, within(1e-6f));
  }
}
