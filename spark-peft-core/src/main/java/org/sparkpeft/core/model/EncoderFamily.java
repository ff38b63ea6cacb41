package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import java.util.List;
import java.util.Optional;

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

  /**
   * What positions add to the scores of attention.
   *
   * @param prefix of the encoder's modules, with a dot, or empty
   */
  default PositionScores positionScores(EncoderConfig config, String prefix, FrozenLayers frozen) {
    return PositionScores.NONE;
  }

  /** Whether {@link #positionScores} leave the layers alone, see {@link Backbone#isRowByRow}. */
  default boolean isRowByRow() {
    return true;
  }

  /** Modules of the encoder that {@link #positionScores} needs. */
  default List<ModuleSpec> positionModules(EncoderConfig config, String prefix) {
    return List.of();
  }

  /** Factor of the scores of attention. */
  default double scoreScale(EncoderConfig config) {
    return 1 / Math.sqrt((double) config.hidden() / config.heads());
  }

  /** The head of a masked language model, where this family's is supported. */
  Optional<WordHead> wordHead(EncoderConfig config);

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
