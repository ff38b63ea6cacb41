package org.sparkpeft.merge.method;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.method.WeightSearch.Found;
import org.sparkpeft.merge.method.WeightSearch.Scorer;

class WeightSearchTest {
  private static double bowl(List<Double> w) {
    double x = w.get(0) - 0.7;
    double y = w.get(1) + 0.3;
    return -(x * x + 10 * y * y + x * y);
  }

  @Test
  void theGridTriesAllAndTakesTheFirstOfEquals() {
    List<List<Double>> tried = new ArrayList<>();
    Found found =
        WeightSearch.grid(
            List.of(List.of(0.0, 1.0), List.of(-1.0, 0.0, 1.0)),
            candidates -> {
              tried.addAll(candidates);
              return candidates.stream().map(w -> Math.abs(w.get(1)) + w.get(0)).toList();
            });
    assertThat(tried).hasSize(6).startsWith(List.of(0.0, -1.0), List.of(0.0, 0.0));
    assertThat(found.weights()).containsExactly(1.0, -1.0);
    assertThat(found.score()).isEqualTo(2);
    assertThat(found.evaluations()).isEqualTo(6);
  }

  @Test
  void theSimplexFindsTheTop() {
    Found found = WeightSearch.simplex(List.of(0.0, 0.0), 0.5, 200, WeightSearchTest::bowl);
    assertThat(found.weights().get(0)).isCloseTo(0.7, within(1e-6));
    assertThat(found.weights().get(1)).isCloseTo(-0.3, within(1e-6));
    assertThat(found.evaluations()).isLessThanOrEqualTo(200);
    assertThat(WeightSearch.simplex(List.of(0.0, 0.0), 0.5, 200, WeightSearchTest::bowl))
        .isEqualTo(found);
    Found one = WeightSearch.simplex(List.of(3.0), 0.5, 60, w -> -Math.abs(w.get(0) - 1));
    assertThat(one.weights().get(0)).isCloseTo(1, within(1e-3));
  }

  @Test
  void weightsOfAMergeAreFoundAgain() {
    List<TaskVector> vectors = Merged.random(3, 12);
    TaskVector wanted = new TaskArithmetic(1).merge(vectors, List.of(0.2, 0.9, -0.4));
    Found found =
        WeightSearch.simplex(
            List.of(0.3, 0.3, 0.3),
            0.3,
            400,
            w -> -new TaskArithmetic(1).merge(vectors, w).minus(wanted).norm());
    assertThat(found.weights().get(0)).isCloseTo(0.2, within(1e-4));
    assertThat(found.weights().get(1)).isCloseTo(0.9, within(1e-4));
    assertThat(found.weights().get(2)).isCloseTo(-0.4, within(1e-4));
  }

  @Test
  void badScoresAndSettingsAreRefused() {
    assertThatThrownBy(() -> WeightSearch.grid(List.of(List.of(1.0)), Scorer.of(w -> Double.NaN)))
        .hasMessageContaining("finite score");
    assertThatThrownBy(() -> WeightSearch.grid(List.of(List.of()), Scorer.of(w -> 0)))
        .hasMessageContaining("at least one value");
    assertThatThrownBy(() -> WeightSearch.simplex(List.of(1.0, 2.0), 0.1, 2, w -> 0))
        .hasMessageContaining("more than 2 evaluations");
  }
}
