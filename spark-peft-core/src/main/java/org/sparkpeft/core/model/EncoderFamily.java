package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import java.util.List;

/**
 * What distinguishes one family of BERT-like encoders from another: configuration keys, module
 * names, positions and the task head.
 */
interface EncoderFamily {
  /** Prefix of the encoder's modules in a task's model class, for example {@code bert}. */
  String prefix();

  /** Reads and checks a configuration. */
  EncoderConfig configure(ModelConfig config);

  EncoderNames names();

  /**
   * Position of each token in the position embedding.
   *
   * @param batch the tokens
   * @param start positions of text start here; a key/value prefix comes before
   * @param virtualTokens tokens without an id in front of each row
   * @return one row for all examples when positions are the same for all, else one for each
   */
  int[][] positions(EncoderConfig config, TokenBatch batch, int start, int virtualTokens);

  /** Modules of the head that Hugging Face's sequence classification class adds. */
  List<ModuleSpec> sequenceHead(EncoderConfig config, int outputs);

  /**
   * Applies that head.
   *
   * @param first hidden state of each example's first token {@code [batch, hidden]}
   * @return {@code [batch, outputs]}
   */
  NDArray sequenceLogits(HeadLayers head, NDArray first);
}
