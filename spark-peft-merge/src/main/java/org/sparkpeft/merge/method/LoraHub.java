package org.sparkpeft.merge.method;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.sparkpeft.merge.method.WeightSearch.Axis;
import org.sparkpeft.merge.method.WeightSearch.Found;
import org.sparkpeft.merge.method.WeightSearch.Scorer;

/**
 * LoraHub (Huang et al., "LoraHub: Efficient Cross-Task Generalization via Dynamic LoRA
 * Composition", 2023): weights w in [-1.5, 1.5] for modules of equal rank, the same on A and B,
 * that minimise a loss on a few examples plus 0.05 times the mean |w|, found without gradients from
 * 0 on. The published search is NGOpt; this is CMA-ES, a generation at once, which leaves 0 by
 * itself: there the module is zero and its loss flat.
 */
public final class LoraHub {
  /** Largest magnitude of a weight. */
  public static final double BOUND = 1.5;

  /** Factor of the mean |w|. */
  public static final double PENALTY = 0.05;

  /** First step of the search. */
  public static final double STEP = 0.5;

  private LoraHub() {}

  /**
   * The best weights found.
   *
   * @param modules how many modules there are
   * @param evaluations how often the loss may be computed; 40 is usual
   * @param seed of the search
   * @param negativeLoss minus the mean loss on the examples for given weights
   * @throws IllegalArgumentException as {@link WeightSearch#cmaEs}
   */
  public static Found search(int modules, int evaluations, long seed, Scorer negativeLoss) {
    List<Axis> axes = Collections.nCopies(modules, new Axis(0, STEP, -BOUND, BOUND));
    return WeightSearch.cmaEs(axes, evaluations, seed, penalised(negativeLoss, PENALTY));
  }

  /** Scores less {@code penalty} times the mean magnitude of the weights. */
  public static Scorer penalised(Scorer scorer, double penalty) {
    return candidates -> {
      List<Double> scores = scorer.scores(candidates);
      List<Double> less = new ArrayList<>();
      for (int i = 0; i < scores.size(); i++) {
        double size = candidates.get(i).stream().mapToDouble(Math::abs).average().orElse(0);
        less.add(scores.get(i) - penalty * size);
      }
      return less;
    };
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
