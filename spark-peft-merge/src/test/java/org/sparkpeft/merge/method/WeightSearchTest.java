package org.sparkpeft.merge.method;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.hipparchus.optim.InitialGuess;
import org.hipparchus.optim.MaxEval;
import org.hipparchus.optim.SimpleBounds;
import org.hipparchus.optim.nonlinear.scalar.GoalType;
import org.hipparchus.optim.nonlinear.scalar.ObjectiveFunction;
import org.hipparchus.optim.nonlinear.scalar.noderiv.CMAESOptimizer;
import org.hipparchus.random.MersenneTwister;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.method.WeightSearch.Axis;
import org.sparkpeft.merge.method.WeightSearch.Found;
import org.sparkpeft.merge.method.WeightSearch.Scorer;

class WeightSearchTest {
  private static final List<Axis> START = List.of(Axis.free(0, 0.5), Axis.free(0, 0.5));

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
    Found found = WeightSearch.simplex(START, 200, Scorer.of(WeightSearchTest::bowl));
    assertThat(found.weights().get(0)).isCloseTo(0.7, within(1e-6));
    assertThat(found.weights().get(1)).isCloseTo(-0.3, within(1e-6));
    assertThat(found.evaluations()).isLessThanOrEqualTo(200);
    assertThat(WeightSearch.simplex(START, 200, Scorer.of(WeightSearchTest::bowl)))
        .isEqualTo(found);
    Found one =
        WeightSearch.simplex(
            List.of(Axis.free(3, 0.5)), 60, Scorer.of(w -> -Math.abs(w.get(0) - 1)));
    assertThat(one.weights().get(0)).isCloseTo(1, within(1e-3));
  }

  @Test
  void theSimplexStaysWithinBounds() {
    List<Axis> axes = List.of(new Axis(0.4, 0.5, 0, 0.5), new Axis(0, 0.5, -0.1, 0));
    List<List<Double>> tried = new ArrayList<>();
    Found found =
        WeightSearch.simplex(
            axes,
            200,
            candidates -> {
              tried.addAll(candidates);
              return candidates.stream().map(WeightSearchTest::bowl).toList();
            });
    assertThat(tried).allMatch(w -> w.get(0) <= 0.5 && w.get(1) >= -0.1 && w.get(1) <= 0);
    assertThat(found.weights().get(0)).isCloseTo(0.5, within(1e-6));
    assertThat(found.weights().get(1)).isCloseTo(-0.1, within(1e-6));
  }

  @Test
  void cmaEsFindsTheTopInWholeGenerations() {
    List<Integer> sizes = new ArrayList<>();
    Scorer scorer =
        candidates -> {
          sizes.add(candidates.size());
          return candidates.stream().map(WeightSearchTest::bowl).toList();
        };
    Found found = WeightSearch.cmaEs(START, 300, 11, scorer);
    assertThat(found.weights().get(0)).isCloseTo(0.7, within(1e-3));
    assertThat(found.weights().get(1)).isCloseTo(-0.3, within(1e-3));
    assertThat(sizes).startsWith(7, 6).allMatch(size -> size == 7 || size == 6);
    assertThat(found.evaluations())
        .isEqualTo(sizes.stream().mapToInt(Integer::intValue).sum())
        .isLessThanOrEqualTo(300);
    assertThat(WeightSearch.cmaEs(START, 300, 11, scorer)).isEqualTo(found);
    assertThat(WeightSearch.cmaEs(START, 300, 12, scorer)).isNotEqualTo(found);
  }

  /** What the library does when asked in its own way, one score after the other. */
  @Test
  void askingForGenerationsChangesNothing() {
    List<List<Double>> ours = new ArrayList<>();
    WeightSearch.cmaEs(
        START,
        61,
        5,
        candidates -> {
          ours.addAll(candidates);
          return candidates.stream().map(WeightSearchTest::bowl).toList();
        });
    List<List<Double>> theirs = new ArrayList<>();
    new CMAESOptimizer(10, Double.NaN, true, 0, 0, new MersenneTwister(5L), false, null)
        .optimize(
            new ObjectiveFunction(
                point -> {
                  theirs.add(List.of(point[0], point[1]));
                  return bowl(List.of(point[0], point[1]));
                }),
            GoalType.MAXIMIZE,
            MaxEval.unlimited(),
            new InitialGuess(new double[2]),
            SimpleBounds.unbounded(2),
            new CMAESOptimizer.Sigma(new double[] {0.5, 0.5}),
            new CMAESOptimizer.PopulationSize(6));
    assertThat(ours).hasSize(61).isEqualTo(theirs);
  }

  @Test
  void cmaEsStaysWithinBoundsAndTakesOneNumber() {
    List<List<Double>> tried = new ArrayList<>();
    Found found =
        WeightSearch.cmaEs(
            List.of(new Axis(0, 0.5, -1.5, 1.5)),
            80,
            3,
            candidates -> {
              tried.addAll(candidates);
              return candidates.stream().map(w -> w.get(0)).toList();
            });
    assertThat(tried).allMatch(w -> Math.abs(w.get(0)) <= 1.5);
    assertThat(found.weights().get(0)).isCloseTo(1.5, within(1e-3));
  }

  @Test
  void weightsOfAMergeAreFoundAgain() {
    List<TaskVector> vectors = Merged.random(3, 12);
    TaskVector wanted = new TaskArithmetic(1).merge(vectors, List.of(0.2, 0.9, -0.4));
    Found found =
        WeightSearch.simplex(
            List.of(Axis.free(0.3, 0.3), Axis.free(0.3, 0.3), Axis.free(0.3, 0.3)),
            400,
            Scorer.of(w -> -new TaskArithmetic(1).merge(vectors, w).minus(wanted).norm()));
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
    assertThatThrownBy(() -> WeightSearch.simplex(START, 2, Scorer.of(w -> 0)))
        .hasMessageContaining("more than 2 evaluations");
    List<Double> many = Collections.nCopies(101, 0.0);
    assertThatThrownBy(() -> WeightSearch.grid(List.of(many, many), Scorer.of(w -> 0)))
        .hasMessageContaining("more than 10000 combinations");
    assertThatThrownBy(() -> new Axis(2, 0.5, -1, 1)).hasMessageContaining("start 2.0");
    assertThatThrownBy(() -> Axis.free(1, 0)).hasMessageContaining("step other than 0");
    assertThatThrownBy(() -> WeightSearch.cmaEs(START, 6, 0, Scorer.of(w -> 0)))
        .hasMessageContaining("one generation, 7 for 2 numbers; got 6");
    assertThatThrownBy(
            () -> WeightSearch.cmaEs(List.of(new Axis(0, 3, -1, 1)), 50, 0, Scorer.of(w -> 0)))
        .hasMessageContaining("at most the width of the bounds");
    assertThatThrownBy(() -> WeightSearch.cmaEs(START, 50, 0, Scorer.of(w -> Double.NaN)))
        .hasMessageContaining("finite score");
  }
}
