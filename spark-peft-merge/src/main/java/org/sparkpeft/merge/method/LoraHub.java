package org.sparkpeft.merge.method;

import java.util.List;
import java.util.function.ToDoubleFunction;
import org.sparkpeft.core.random.Philox;

/**
 * LoraHub (Huang et al., "LoraHub: Efficient Cross-Task Generalization via Dynamic LoRA
 * Composition", 2023): weights w in [-1.5, 1.5] for modules of equal rank, the same on A and B,
 * that minimise a loss on a few examples plus 0.05 times the mean |w|, found without gradients. The
 * published search is NGOpt; this is a (1+1) evolution strategy with the one-fifth rule, started at
 * 0, which leaves it at once: there the module is zero and its loss flat.
 *
 * @param evaluations how often the loss may be computed; 40 is usual
 * @param seed of the search
 */
public record LoraHub(int evaluations, long seed) {
  private static final double BOUND = 1.5;
  private static final double PENALTY = 0.05;
  private static final double FIRST_STEP = 0.5;

  public LoraHub {
    if (evaluations < 1) {
      throw new IllegalArgumentException("needs at least one evaluation, got " + evaluations);
    }
  }

  /**
   * The best weights found.
   *
   * @param modules how many modules there are
   * @param loss mean loss on the examples for given weights; must not change the array
   */
  public double[] search(int modules, ToDoubleFunction<double[]> loss) {
    double[] best = new double[modules];
    double least = objective(best, loss);
    double step = FIRST_STEP;
    Philox random = Philox.of(seed, "lorahub");
    for (int evaluation = 1; evaluation < evaluations; evaluation++) {
      double[] candidate = new double[modules];
      for (int i = 0; i < modules; i++) {
        double moved = best[i] + step * random.gaussianAt((long) evaluation * modules + i);
        candidate[i] = Math.max(-BOUND, Math.min(BOUND, moved));
      }
      double value = objective(candidate, loss);
      // The one-fifth rule: success widens the step four times as much as failure narrows it.
      boolean better = value < least;
      step *= StrictMath.exp(better ? 0.4 : -0.1);
      if (better) {
        best = candidate;
        least = value;
      }
    }
    return best.clone();
  }

  private static double objective(double[] weights, ToDoubleFunction<double[]> loss) {
    double sum = 0;
    for (double weight : weights) {
      sum += Math.abs(weight);
    }
    return loss.applyAsDouble(weights) + PENALTY * sum / weights.length;
  }

  /**
   * The composed layer: (sum w_i A_i, sum w_i B_i), cross-terms and all, with the common scaling.
   */
  public static LoraModule compose(List<LoraModule> modules, double[] weights) {
    LoraMerge.check(modules, java.util.Arrays.stream(weights).boxed().toList());
    LoraModule first = modules.get(0);
    for (LoraModule module : modules) {
      if (module.rank() != first.rank() || module.scaling() != first.scaling()) {
        throw new IllegalArgumentException(
            "modules must have one rank and one scaling, got "
                + first.rank()
                + ", "
                + first.scaling()
                + " and "
                + module.rank()
                + ", "
                + module.scaling());
      }
    }
    LoraModule sum = LoraMerge.factorSum(modules, weights, weights);
    return new LoraModule(sum.matrixA(), sum.matrixB(), first.scaling());
  }
}
