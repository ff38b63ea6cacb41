package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;

/** What a task minimises and how its results are scored. */
interface Objective {

  /** Whether an example is a pair of texts. */
  default boolean pairs() {
    return false;
  }

  /**
   * Mean loss of a batch, differentiable.
   *
   * @param outputs what the model returned for the batch
   * @return one number
   */
  NDArray loss(NDManager step, NDArray outputs, ExampleBatch batch);

  /** A counter without any examples. */
  Evaluation none();

  /**
   * Scores a batch.
   *
   * @param outputs what the model returned for the batch
   * @return the counts of this batch
   */
  Evaluation score(NDArray outputs, ExampleBatch batch);
}
