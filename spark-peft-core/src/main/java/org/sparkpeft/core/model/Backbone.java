package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.Set;

/**
 * A frozen base model with its task head. Immutable after loading and shared by all concurrent
 * tasks; what a task trains enters through the {@link Tuning} it passes in. The result of a call
 * belongs to the step's manager.
 */
public interface Backbone extends AutoCloseable {

  /** All layers, base and head, by Hugging Face path. */
  ModuleTree modules();

  /** Sizes of the encoder. */
  EncoderConfig config();

  /** Paths of head modules that the checkpoint lacks and that were made up. */
  Set<String> missing();

  /**
   * Last hidden states.
   *
   * @return {@code [batch, virtual tokens + seq, hidden]}; rows of padding mean nothing
   */
  NDArray forward(NDManager step, TokenBatch batch, Tuning tuning);

  /**
   * What the head reads of the hidden states: those of the first token for a sequence head, those
   * of every token that is not virtual for a token head; for a head of ours and without a head, the
   * mean over each example's tokens, without padding and virtual tokens.
   *
   * @param hidden what {@link #forward} returned
   * @return {@code [batch, hidden]}, or {@code [batch, seq, hidden]} for a token head
   */
  NDArray features(NDManager step, NDArray hidden, TokenBatch batch, Tuning tuning);

  /**
   * The head's outputs.
   *
   * @param features what {@link #features} returned
   * @return {@code [batch, outputs]}, or {@code [batch, seq, outputs]} for a token head
   * @throws IllegalStateException if the model was loaded without a head
   */
  NDArray logits(NDArray features, Tuning tuning);

  /** A copy of one frozen tensor, for example {@code classifier.weight}, row-major. */
  float[] frozen(String tensor);

  /** Frees the weights. No task may be using the model. */
  @Override
  void close();
}
