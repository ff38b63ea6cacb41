package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import java.util.List;
import java.util.Optional;

/**
 * DistilBERT (Sanh et al. 2019, arXiv 1910.01108): BERT without token types, with its own names,
 * and the sequence head {@code classifier(relu(pre_classifier h))} of the first token.
 */
final class DistilBertModel implements EncoderFamily {
  @Override
  public String prefix() {
    return "distilbert";
  }

  @Override
  public EncoderConfig configure(ModelConfig config) {
    int hidden = config.count("dim");
    int positions = config.count("max_position_embeddings");
    return new EncoderConfig(
        config.count("vocab_size"),
        hidden,
        config.count("n_layers"),
        config.count("n_heads"),
        config.count("hidden_dim"),
        config.activation("activation"),
        1e-12f,
        positions,
        0,
        config.id("pad_token_id", 0),
        positions,
        config.positive("initializer_range", 0.02),
        hidden);
  }

  @Override
  public EncoderNames names() {
    return EncoderNames.distilBert();
  }

  @Override
  public int[][] positions(EncoderConfig config, TokenBatch batch, int start, int virtualTokens) {
    return new int[][] {BertModel.countFrom(start, virtualTokens + batch.width())};
  }

  @Override
  public Optional<WordHead> wordHead(EncoderConfig config) {
    return Optional.of(
        new WordHead(
            "vocab_transform",
            "vocab_layer_norm",
            "vocab_projector",
            "vocab_projector.bias",
            config.activation()));
  }

  @Override
  public List<ModuleSpec> sequenceHead(EncoderConfig config, int outputs) {
    int hidden = config.hidden();
    return List.of(
        ModuleSpec.linear("pre_classifier", hidden, hidden).orElse(ModuleSpec.Origin.FRESH),
        ModuleSpec.linear("classifier", hidden, outputs).orElse(ModuleSpec.Origin.FRESH));
  }

  @Override
  public NDArray sequenceLogits(HeadLayers head, NDArray first) {
    NDArray dense =
        head.linear("pre_classifier", first).getNDArrayInternal().relu(); // [batch, hidden]
    return head.linear("classifier", dense); // [batch, outputs]
  }
}
