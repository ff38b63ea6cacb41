package org.sparkpeft.core.peft.reparam;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.Shape;
import java.util.Optional;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;

/**
 * Regularisation of the LyCORIS family: whole rows of a change of weight are left out, or the whole
 * change.
 */
final class RankDropout {
  private RankDropout() {}

  private static Philox random(ModuleSpec layer, TuningContext context) {
    return context.random().child(Philox.hash(layer.path()));
  }

  /** Whether the layer goes without its change in this step. */
  static boolean skips(ModuleSpec layer, double probability, Optional<TuningContext> training) {
    return probability > 0
        && training
            .map(context -> random(layer, context).child(0).doubleAt(0) < probability)
            .orElse(false);
  }

  /**
   * Drops rows.
   *
   * @param delta {@code [out, in]}
   * @param scaled whether the rest grows so that the mean row stays
   */
  static NDArray rows(
      ModuleSpec layer,
      NDArray delta,
      double probability,
      boolean scaled,
      Optional<TuningContext> training) {
    if (probability == 0 || training.isEmpty()) {
      return delta;
    }
    Philox random = random(layer, training.get()).child(1);
    float[] mask = new float[layer.out()];
    int kept = 0;
    for (int row = 0; row < mask.length; row++) {
      if (random.doubleAt(row) >= probability) {
        mask[row] = 1;
        kept++;
      }
    }
    if (scaled && kept > 0) {
      for (int row = 0; row < mask.length; row++) {
        mask[row] *= (float) mask.length / kept;
      }
    }
    return delta.mul(delta.getManager().create(mask, new Shape(mask.length, 1)));
  }
}
