package org.sparkpeft.core.peft.sharing;

import ai.djl.ndarray.NDArray;
import java.util.List;
import java.util.Set;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.peft.Dropout;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TargetSelection;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;

/** What the methods of this package that act through a low-rank product have in common. */
final class LowRank {
  private LowRank() {}

  static void checkRank(Problems problems, int r) {
    problems.require(r >= 1 && r <= 512, "r", r, "rank must be 1..512; set \"r\" to 8 or 16");
  }

  static void checkScaling(Problems problems, double alpha, double dropout) {
    problems
        .require(
            alpha > 0 && Double.isFinite(alpha),
            "lora_alpha",
            alpha,
            "must be above 0; usual is r or 2 r")
        .require(dropout >= 0 && dropout < 1, "lora_dropout", dropout, "must be in [0, 1)");
  }

  /** The linear layers meant, in model order. */
  static List<ModuleSpec> linears(ModuleTree modules, TargetModules targets, List<String> exclude) {
    return TargetSelection.select(
        modules, targets, exclude, List.of(), Set.of(ModuleSpec.Kind.LINEAR));
  }

  /** Kaiming-uniform with a = sqrt 5, that is uniform within {@code 1 / sqrt(fanIn)}. */
  static float[] kaiming(Philox random, int size, int fanIn) {
    float bound = (float) (1 / Math.sqrt(fanIn));
    return random.uniform(size, -bound, bound);
  }

  /** Input of the adapter's branch: {@code x}, with entries dropped while training. */
  static NDArray dropped(NDArray x, String path, double probability, TuningContext context) {
    if (!context.training() || probability == 0) {
      return x;
    }
    return Dropout.apply(x, probability, context.random().child(Philox.hash(path)));
  }

  /**
   * {@code scale x At Bt}.
   *
   * @param x {@code [..., in]}
   * @param a {@code [r, in]}
   * @param b {@code [out, r]}
   * @return {@code [..., out]}
   */
  static NDArray delta(NDArray x, NDArray a, NDArray b, float scale) {
    return Linear.of(Scalars.times(Linear.of(x, a, null), scale), b, null);
  }

  /**
   * Adds {@code scale B A} to a weight.
   *
   * @param weight {@code [out, in]}
   * @param a {@code [r, in]}
   * @param b {@code [out, r]}
   */
  static void add(float[] weight, float[] a, float[] b, int r, float scale) {
    int in = a.length / r;
    int out = b.length / r;
    for (int o = 0; o < out; o++) {
      for (int k = 0; k < r; k++) {
        float factor = scale * b[o * r + k];
        for (int i = 0; i < in; i++) {
          weight[o * in + i] += factor * a[k * in + i];
        }
      }
    }
  }

  /** {@code [rows, columns]} to {@code [columns, rows]}. */
  static float[] transposed(float[] matrix, int rows, int columns) {
    float[] turned = new float[matrix.length];
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        turned[j * rows + i] = matrix[i * columns + j];
      }
    }
    return turned;
  }
}
