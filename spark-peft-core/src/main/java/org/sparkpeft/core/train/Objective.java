package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.List;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;

/** What a task minimises and how its results are scored. */
interface Objective {

  /** Whether an example is a pair of texts. */
  default boolean pairs() {
    return false;
  }

  /**
   * From a model's forward pass to what loss and score judge: its outputs, unless said otherwise.
   * May keep what it finds out of an example, so the result is for the examples of one call.
   *
   * @param reference the forward pass of the model that a preference is measured against
   */
  default UnaryOperator<BatchForward> judged(Supplier<BatchForward> reference) {
    return UnaryOperator.identity();
  }

  /**
   * Mean loss of a batch, differentiable.
   *
   * @param outputs what the model returned for the batch, as {@link #judged}
   * @return one number
   */
  NDArray loss(NDManager step, NDArray outputs, ExampleBatch batch);

  /**
   * The same for outputs that need not be had all at once.
   *
   * @param outputs their head is part of the gradient too
   */
  default NDArray loss(NDManager step, Outputs outputs, ExampleBatch batch) {
    return loss(step, outputs.all(), batch);
  }

  /**
   * In what pieces a batch's outputs are to be judged.
   *
   * @return one for all tokens where nothing speaks against having all outputs
   */
  default List<Span> spans(Outputs outputs) {
    return List.of(new Span(0, Integer.MAX_VALUE));
  }

  /**
   * A piece's part of the mean loss of a batch, where {@link #spans} has several.
   *
   * @param some outputs of the span's tokens
   * @param width tokens of an example, with virtual ones
   */
  default NDArray loss(NDArray some, Span span, int width, ExampleBatch batch) {
    throw new UnsupportedOperationException("the outputs are judged at once");
  }

  /**
   * Whether the loss of a batch is a mean of terms that are each of one example, so that it follows
   * from the losses of parts of the batch.
   */
  default boolean isMean() {
    return false;
  }

  /**
   * Number of terms that the loss of a batch is the mean of, where it {@linkplain #isMean is one}.
   *
   * @param outputs what the model returned for the batch
   */
  default long terms(Outputs outputs, ExampleBatch batch) {
    return batch.size();
  }

  /** A counter without any examples. */
  Evaluation none();

  /**
   * Scores a batch.
   *
   * @param outputs what the model returned for the batch, as {@link #judged}
   * @return the counts of this batch
   */
  Evaluation score(NDArray outputs, ExampleBatch batch);

  /** The same for outputs that need not be had all at once. */
  default Evaluation score(NDManager step, Outputs outputs, ExampleBatch batch) {
    return score(outputs.all(), batch);
  }
}
