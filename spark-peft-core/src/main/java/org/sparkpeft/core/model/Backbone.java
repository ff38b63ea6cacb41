package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.sparkpeft.core.io.WeightSource;

/**
 * A frozen base model with its task head. Immutable after loading and shared by all concurrent
 * tasks; what a task trains enters through the {@link Tuning} it passes in. The result of a call
 * belongs to the step's manager.
 */
public interface Backbone extends AutoCloseable {

  /** All layers, base and head, by Hugging Face path. */
  ModuleTree modules();

  /** Sizes of the model. */
  ModelSizes config();

  /** In how many bits the weights are held. */
  default WeightForm form() {
    return WeightForm.FLOAT32;
  }

  /** Bytes of the engine's memory that the tensors take. */
  long bytes();

  /** Hugging Face's {@code base_model_prefix}, such as {@code bert}, {@code transformer}. */
  String prefix();

  /** Paths of head modules that the checkpoint lacks and that were made up. */
  Set<String> missing();

  /** Modules whose weight is the table of an embedding, with the embedding's path. */
  Map<String, String> tied();

  /** Tensors of the checkpoint that are never trained, with their shapes. */
  default Map<String, List<Integer>> buffers() {
    return Map.of();
  }

  /** What the model reads of an example; with two kinds of input, what a classifier reads. */
  default InputForm input() {
    return InputForm.TOKENS;
  }

  /** Whether a decoder reads what an encoder made of the input. */
  default boolean isEncoderDecoder() {
    return false;
  }

  /**
   * Whether every linear layer sees {@code [batch, ...]}, each text in its own row; not so where a
   * layer also reads something that all texts have in common, such as distances.
   */
  default boolean isRowByRow() {
    return true;
  }

  /**
   * Last hidden states: of an encoder or a decoder, or of the decoder where there are both.
   *
   * @return {@code [batch, virtual tokens + seq, hidden]}; rows of padding mean nothing
   * @throws IllegalArgumentException if the model does not read this kind of input
   */
  default NDArray forward(NDManager step, ModelInput input, Tuning tuning) {
    return forward(step, input, tuning, KeyValueCache.NONE);
  }

  /**
   * As {@link #forward(NDManager, ModelInput, Tuning)}, where the tokens follow those that the
   * cache has seen. Only models that generate keep a cache.
   */
  NDArray forward(NDManager step, ModelInput input, Tuning tuning, KeyValueCache cache);

  /**
   * What the head reads of the hidden states: those of the first token for a sequence head (the
   * last token's for a decoder), those of every token that is not virtual for a token head, all of
   * them for a language head; for a head of ours and without a head, the mean over each example's
   * tokens, without padding and virtual tokens.
   *
   * @param hidden what {@link #forward} returned
   * @return {@code [batch, hidden]}, or {@code [batch, seq, hidden]} for token and language heads
   */
  NDArray features(NDManager step, NDArray hidden, ModelInput input, Tuning tuning);

  /**
   * What the head reads of an input: up to rounding the {@link #features} of what {@link #forward}
   * returns. Where the head reads an encoder's first tokens alone, the last layer computes these
   * alone, once it has the keys and values of all, so {@code tuning} must treat each token of a
   * layer by itself.
   */
  NDArray read(NDManager step, ModelInput input, Tuning tuning);

  /**
   * The head's outputs.
   *
   * @param features what {@link #features} returned
   * @return {@code [batch, outputs]}, or {@code [batch, seq, outputs]}
   * @throws IllegalStateException if the model was loaded without a head
   */
  NDArray logits(NDArray features, Tuning tuning);

  /**
   * A copy of one frozen tensor, for example {@code classifier.weight}, row-major, as it is
   * computed with: rounded where {@link #form} rounds it.
   */
  float[] frozen(String tensor);

  /**
   * As {@link #frozen}, but as the checkpoint has it, not rounded.
   *
   * @param checkpoint what the model was loaded from
   */
  float[] stored(WeightSource checkpoint, String tensor);

  /** Frees the weights. No task may be using the model. */
  @Override
  void close();
}
