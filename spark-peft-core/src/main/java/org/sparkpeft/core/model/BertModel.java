package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import java.util.List;
import java.util.Optional;

/**
 * BERT (Devlin et al. 2018, arXiv 1810.04805), also in its distilled form MiniLM. The sequence head
 * is the pooler, {@code tanh(W h + b)} of the first token, and one linear layer. Checkpoints of
 * sentence encoders have no pooler; it then starts as the identity.
 */
final class BertModel implements EncoderFamily {
  @Override
  public String prefix() {
    return "bert";
  }

  @Override
  public EncoderConfig configure(ModelConfig config) {
    config.only("position_embedding_type", List.of("absolute"));
    config.only("is_decoder", List.of(false));
    config.only("add_cross_attention", List.of(false));
    int hidden = config.count("hidden_size");
    int positions = config.count("max_position_embeddings");
    return new EncoderConfig(
        config.count("vocab_size"),
        hidden,
        config.count("num_hidden_layers"),
        config.count("num_attention_heads"),
        config.count("intermediate_size"),
        config.activation("hidden_act"),
        (float) config.positive("layer_norm_eps", 1e-12),
        positions,
        config.count("type_vocab_size"),
        config.id("pad_token_id", 0),
        positions,
        config.positive("initializer_range", 0.02),
        hidden);
  }

  @Override
  public EncoderNames names() {
    return EncoderNames.bert();
  }

  @Override
  public int[][] positions(EncoderConfig config, TokenBatch batch, int start, int virtualTokens) {
    return new int[][] {countFrom(start, virtualTokens + batch.width())};
  }

  static int[] countFrom(int start, int length) {
    int[] positions = new int[length];
    for (int i = 0; i < length; i++) {
      positions[i] = start + i;
    }
    return positions;
  }

  @Override
  public Optional<WordHead> wordHead(EncoderConfig config) {
    return Optional.of(WordHead.bert(config.activation()));
  }

  @Override
  public List<ModuleSpec> sequenceHead(EncoderConfig config, int outputs) {
    int hidden = config.hidden();
    return List.of(
        ModuleSpec.linear("bert.pooler.dense", hidden, hidden).orElse(ModuleSpec.Origin.IDENTITY),
        ModuleSpec.linear("classifier", hidden, outputs).orElse(ModuleSpec.Origin.FRESH));
  }

  @Override
  public NDArray sequenceLogits(HeadLayers head, NDArray first) {
    NDArray pooled = head.linear("bert.pooler.dense", first).tanh(); // [batch, hidden]
    return head.linear("classifier", pooled); // [batch, outputs]
  }
}
