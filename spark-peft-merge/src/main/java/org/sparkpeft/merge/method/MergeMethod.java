package org.sparkpeft.merge.method;

import java.util.Collections;
import java.util.List;
import org.sparkpeft.core.vector.TaskVector;

/**
 * Several task vectors become one. A merge is a pure function: the same vectors and weights give
 * the same bits, and where a method treats its vectors alike, so does any order of them, because
 * sums over vectors are taken in an order that only the vectors decide.
 */
public interface MergeMethod {
  /**
   * Merges vectors of one layout.
   *
   * @param vectors at least one, all finite
   * @param weights one for each, finite; what they mean is the method's to say
   * @throws IllegalArgumentException if layouts differ, a number is not finite, or the counts
   *     differ
   */
  TaskVector merge(List<TaskVector> vectors, List<Double> weights);

  /** Merges with weight 1 for each. */
  default TaskVector merge(List<TaskVector> vectors) {
    return merge(vectors, Collections.nCopies(vectors.size(), 1.0));
  }
}
