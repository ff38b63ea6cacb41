package org.sparkpeft.merge.method;

import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.vector.TaskVector;

/**
 * Consensus merging with TALL masks (Wang et al., "Localizing Task Information for Improved Model
 * Merging and Compression", 2024). With m the merged vector of all tasks, task t needs entry i when
 * |v_t| >= threshold * |m - v_t|. Entries that fewer than {@code minTasks} need are set to zero:
 * those nobody needs, and with 2 those only one task needs.
 *
 * @param method makes the merged vector; published with task arithmetic and TIES
 * @param threshold published 0.2..0.6, chosen for each task on validation data
 * @param minTasks tasks that must need an entry, published 2
 */
public record ConsensusMask(MergeMethod method, double threshold, int minTasks)
    implements MergeMethod {

  public ConsensusMask {
    if (!(threshold > 0) || minTasks < 0) {
      throw new IllegalArgumentException(
          "threshold must be above 0 and minTasks at least 0, got "
              + threshold
              + " and "
              + minTasks);
    }
  }

  @Override
  public TaskVector merge(List<TaskVector> vectors, List<Double> weights) {
    TaskVector merged = method.merge(vectors, weights);
    List<boolean[]> masks = new ArrayList<>();
    vectors.forEach(vector -> masks.add(mask(vector, merged, threshold)));
    float[] kept = merged.toArray();
    for (int i = 0; i < kept.length; i++) {
      int need = 0;
      for (boolean[] mask : masks) {
        need += mask[i] ? 1 : 0;
      }
      if (need < minTasks) {
        kept[i] = 0;
      }
    }
    return TaskVector.wrap(merged.layout(), kept);
  }

  /** The entries of {@code merged} that one task needs; an entry it left at zero it never needs. */
  public static boolean[] mask(TaskVector vector, TaskVector merged, double threshold) {
    boolean[] mask = new boolean[vector.size()];
    for (int i = 0; i < mask.length; i++) {
      mask[i] = wants(vector.get(i), merged.get(i), threshold);
    }
    return mask;
  }

  /** Whether a vector with this value wants an entry that became {@code merged}. */
  static boolean wants(float value, float merged, double threshold) {
    double own = Math.abs(value);
    return own > 0 && own >= threshold * Math.abs((double) merged - value);
  }
}
