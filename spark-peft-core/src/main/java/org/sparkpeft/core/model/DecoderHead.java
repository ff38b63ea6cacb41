package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import java.util.List;

/**
 * What sits on top of a decoder: {@code lm_head} over the vocabulary, or {@code score}, a linear
 * layer without bias, on the last token.
 */
final class DecoderHead {
  private static final String LANGUAGE = "lm_head";
  private static final String SCORE = "score";

  private final HeadConfig head;
  private final FrozenLayers frozen;

  DecoderHead(HeadConfig head, FrozenLayers frozen) {
    this.head = head;
    this.frozen = frozen;
  }

  /** In Hugging Face's class without a head, the decoder's modules have no prefix. */
  static String path(String prefix, HeadConfig head) {
    return head.kind() == HeadConfig.Kind.NONE ? "" : prefix + ".";
  }

  /** Path of the layer over the vocabulary; empty when there is none. */
  static String output(HeadConfig head) {
    return head.kind() == HeadConfig.Kind.LANGUAGE ? LANGUAGE : "";
  }

  /**
   * The head's modules.
   *
   * @param words path of the word embeddings
   * @param tied whether the word embeddings serve as output layer when the checkpoint has none
   */
  static List<ModuleSpec> modules(HeadConfig head, ModelSizes sizes, String words, boolean tied) {
    return switch (head.kind()) {
      case NONE -> List.of();
      case LANGUAGE -> {
        ModuleSpec layer = ModuleSpec.linear(LANGUAGE, sizes.hidden(), sizes.vocabulary(), false);
        yield List.of(tied ? layer.tiedTo(words) : layer);
      }
      case SEQUENCE, MEAN, TOKEN ->
          List.of(
              ModuleSpec.linear(SCORE, sizes.hidden(), head.outputs(), false)
                  .orElse(ModuleSpec.Origin.FRESH));
    };
  }

  NDArray features(Pass pass, NDArray hidden, TokenBatch batch) {
    return switch (head.kind()) {
      case NONE, MEAN -> Pooling.mean(pass, hidden, batch);
      case SEQUENCE -> Pooling.last(pass, hidden, batch);
      case TOKEN -> Pooling.withoutVirtual(pass, hidden);
      case LANGUAGE -> hidden;
    };
  }

  NDArray logits(NDArray features, Tuning tuning) {
    HeadLayers layers = new HeadLayers(frozen, tuning);
    return switch (head.kind()) {
      case NONE -> throw new IllegalStateException("the model was loaded without a head");
      case LANGUAGE -> layers.linear(LANGUAGE, features);
      case SEQUENCE, MEAN, TOKEN -> layers.linear(SCORE, features);
    };
  }
}
