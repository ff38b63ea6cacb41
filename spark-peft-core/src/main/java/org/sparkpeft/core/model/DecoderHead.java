package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import java.util.List;

/**
 * What sits on top of a decoder: {@code lm_head} or a layer of another name over the vocabulary, or
 * {@code score}, a linear layer on the last token without a bias, or on every token with one.
 */
final class DecoderHead {
  private static final String LANGUAGE = "lm_head";
  private static final String SCORE = "score";

  private final HeadConfig head;
  private final FrozenLayers frozen;
  private final String language;

  DecoderHead(HeadConfig head, FrozenLayers frozen) {
    this(head, frozen, LANGUAGE);
  }

  /**
   * @param language path of the layer over the vocabulary
   */
  DecoderHead(HeadConfig head, FrozenLayers frozen, String language) {
    this.head = head;
    this.frozen = frozen;
    this.language = language;
  }

  /** In Hugging Face's class without a head, the decoder's modules have no prefix. */
  static String path(String prefix, HeadConfig head) {
    return head.kind() == HeadConfig.Kind.NONE ? "" : prefix + ".";
  }

  /** Path of the layer over the vocabulary; empty when there is none. */
  static String output(HeadConfig head) {
    return output(head, LANGUAGE);
  }

  static String output(HeadConfig head, String language) {
    return head.kind() == HeadConfig.Kind.LANGUAGE ? language : "";
  }

  /**
   * The head's modules.
   *
   * @param words path of the word embeddings
   * @param tied whether the word embeddings serve as output layer when the checkpoint has none
   */
  static List<ModuleSpec> modules(HeadConfig head, ModelSizes sizes, String words, boolean tied) {
    return modules(head, sizes, words, tied, LANGUAGE);
  }

  static List<ModuleSpec> modules(
      HeadConfig head, ModelSizes sizes, String words, boolean tied, String language) {
    return switch (head.kind()) {
      case NONE -> List.of();
      case LANGUAGE -> {
        ModuleSpec layer = ModuleSpec.linear(language, sizes.hidden(), sizes.vocabulary(), false);
        yield List.of(tied ? layer.tiedTo(words) : layer);
      }
      case SEQUENCE, MEAN, TOKEN -> {
        boolean bias = head.kind() == HeadConfig.Kind.TOKEN; // as Hugging Face's classes do
        yield List.of(
            ModuleSpec.linear(SCORE, sizes.hidden(), head.outputs(), bias)
                .orElse(ModuleSpec.Origin.FRESH));
      }
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
      case LANGUAGE -> layers.linear(language, features);
      case SEQUENCE, MEAN, TOKEN -> layers.linear(SCORE, features);
    };
  }
}
