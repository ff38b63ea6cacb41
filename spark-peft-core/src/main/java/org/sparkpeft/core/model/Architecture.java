package org.sparkpeft.core.model;

import ai.djl.ndarray.NDManager;
import java.util.List;

/**
 * One architecture with the sizes of one {@code config.json}: which layers it has, known without
 * any weights, and what it computes with them.
 */
interface Architecture {

  /** Hugging Face's {@code base_model_prefix}, which checkpoints of the bare model omit. */
  String prefix();

  ModelSizes sizes();

  /**
   * The layers with a head on top.
   *
   * @throws org.sparkpeft.core.error.ConfigException if there is no such head for this model
   */
  ModuleTree modules(HeadConfig head);

  /** Tensors of the checkpoint that are part of the computation but never trained. */
  default List<ModuleSpec> buffers(HeadConfig head) {
    return List.of();
  }

  /** What the model reads of an example; with two kinds of input, what a classifier reads. */
  default InputForm input() {
    return InputForm.TOKENS;
  }

  /** Whether a decoder reads what an encoder made of the input. */
  default boolean isEncoderDecoder() {
    return false;
  }

  /** Whether a token's hidden state depends on the tokens after it. */
  default boolean seesAhead() {
    return false;
  }

  /** Whether every linear layer sees one row for each text, see {@link Backbone}. */
  default boolean isRowByRow() {
    return true;
  }

  /**
   * The computation over loaded layers.
   *
   * @param manager owner of the model, for kernels
   */
  Network network(HeadConfig head, FrozenLayers layers, NDManager manager);
}
