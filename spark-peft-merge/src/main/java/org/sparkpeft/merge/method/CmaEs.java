package org.sparkpeft.merge.method;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.hipparchus.optim.InitialGuess;
import org.hipparchus.optim.MaxEval;
import org.hipparchus.optim.SimpleBounds;
import org.hipparchus.optim.nonlinear.scalar.GoalType;
import org.hipparchus.optim.nonlinear.scalar.ObjectiveFunction;
import org.hipparchus.optim.nonlinear.scalar.noderiv.CMAESOptimizer;
import org.hipparchus.random.MersenneTwister;
import org.sparkpeft.merge.method.WeightSearch.Axis;
import org.sparkpeft.merge.method.WeightSearch.Found;
import org.sparkpeft.merge.method.WeightSearch.Scorer;

/**
 * CMA-ES (Hansen, "The CMA Evolution Strategy: A Tutorial", 2016) by Hipparchus, the maintained
 * successor of the commons-math3 on Spark's class path, whose last release is of 2016. It computes
 * in pure Java from a seed, so every machine finds the same.
 *
 * <p>The library wants its scores one by one, a generation costs as many evaluations as a job can
 * do at once. So a generation is first asked for with made-up scores, on which its own points do
 * not depend, then scored as a whole, and the optimiser, being deterministic, is run again from the
 * start with all scores known so far. That repeats arithmetic on a handful of numbers, never an
 * evaluation.
 */
final class CmaEs {
  private final List<Axis> axes;
  private final int population;
  private final int generations;
  private final long seed;
  private final List<List<Double>> points = new ArrayList<>();
  private final List<Double> scores = new ArrayList<>();

  CmaEs(List<Axis> axes, int evaluations, long seed) {
    this.axes = axes;
    this.seed = seed;
    this.population = population(axes.size());
    this.generations = (evaluations - 1) / population;
    if (axes.isEmpty() || generations < 1) {
      throw new IllegalArgumentException(
          "CMA-ES needs numbers and evaluations for the start and one generation, "
              + (population + 1)
              + " for "
              + axes.size()
              + " numbers; got "
              + evaluations);
    }
    for (Axis axis : axes) {
      if (!(axis.step() > 0 && axis.step() <= axis.high() - axis.low())) {
        throw new IllegalArgumentException(
            "CMA-ES needs a step above 0 and at most the width of the bounds, got " + axis);
      }
    }
  }

  /** Hansen's default, 4 + floor(3 ln n). */
  static int population(int numbers) {
    return 4 + (int) Math.floor(3 * StrictMath.log(Math.max(1, numbers)));
  }

  Found run(Scorer scorer) {
    List<List<Double>> next = ask();
    while (!next.isEmpty()) {
      scores.addAll(WeightSearch.scores(scorer, next));
      points.addAll(next);
      next = ask();
    }
    return WeightSearch.best(points, scores);
  }

  /** The points of the next generation, the first time with the start; empty at the end. */
  private List<List<Double>> ask() {
    List<List<Double>> asked = new ArrayList<>();
    int wanted = scores.isEmpty() ? population + 1 : population;
    int[] calls = {0};
    ObjectiveFunction objective =
        new ObjectiveFunction(
            point -> {
              int call = calls[0]++;
              if (call < scores.size()) {
                return scores.get(call);
              }
              asked.add(Arrays.stream(point).boxed().toList());
              if (asked.size() == wanted) {
                throw new Asked();
              }
              return 0;
            });
    try {
      new CMAESOptimizer(
              generations, Double.NaN, true, 0, 0, new MersenneTwister(seed), false, null)
          .optimize(
              objective,
              GoalType.MAXIMIZE,
              MaxEval.unlimited(),
              new InitialGuess(numbers(Axis::start)),
              new SimpleBounds(numbers(Axis::low), numbers(Axis::high)),
              new CMAESOptimizer.Sigma(numbers(Axis::step)),
              new CMAESOptimizer.PopulationSize(population));
      return List.of();
    } catch (Asked e) {
      return asked;
    }
  }

  private double[] numbers(java.util.function.ToDoubleFunction<Axis> of) {
    return axes.stream().mapToDouble(of).toArray();
  }

  /** Leaves the optimiser once a generation is complete. */
  private static final class Asked extends RuntimeException {
    private static final long serialVersionUID = 1L;

    Asked() {
      super("a generation is complete", null, false, false);
    }
  }
}
