package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import java.util.List;
import org.sparkpeft.core.nn.Activation;

/**
 * The head of a masked language model: {@code decoder(norm(activation(dense h))) + bias}, where the
 * decoder is the table of the word embeddings unless the checkpoint has its own.
 *
 * @param dense path of the first layer
 * @param norm path of the norm after it
 * @param decoder path of the layer over the vocabulary
 * @param bias name of that layer's bias, which is never shared
 * @param activation between the first layer and its norm
 */
record WordHead(String dense, String norm, String decoder, String bias, Activation activation) {

  /** BERT's names. */
  static WordHead bert(Activation activation) {
    String predictions = "cls.predictions.";
    return new WordHead(
        predictions + "transform.dense",
        predictions + "transform.LayerNorm",
        predictions + "decoder",
        predictions + "bias",
        activation);
  }

  /** RoBERTa's names. */
  static WordHead roberta() {
    return new WordHead(
        "lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head.bias", Activation.GELU);
  }

  /**
   * The head's layers.
   *
   * @param words path of the word embeddings
   */
  List<ModuleSpec> modules(EncoderConfig config, String words) {
    int size = config.embedding();
    return List.of(
        ModuleSpec.linear(dense, config.hidden(), size),
        ModuleSpec.layerNorm(norm, size),
        ModuleSpec.linear(decoder, size, config.vocabulary(), false).tiedTo(words),
        ModuleSpec.tensor(bias, List.of(config.vocabulary())));
  }

  /**
   * Scores of all words.
   *
   * @param hidden {@code [batch, seq, hidden]}
   * @return {@code [batch, seq, vocabulary]}
   */
  NDArray logits(EncoderConfig config, FrozenLayers frozen, Tuning tuning, NDArray hidden) {
    NDArray x = activation.apply(tuning.linear(frozen.linear(dense), hidden));
    x = tuning.layerNorm(frozen.layerNorm(norm, config.epsilon()), x); // [batch, seq, embedding]
    NDArray logits = tuning.linear(frozen.linear(decoder).withBias(null), x);
    return logits.add(tuning.tensor(hidden.getManager(), bias, frozen.tensor(bias)));
  }
}
