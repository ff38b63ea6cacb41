package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.nn.Activation;

/**
 * ELECTRA (Clark et al. 2020, arXiv 2003.10555): BERT's encoder, with embeddings that may be
 * smaller than its states, and the sequence head {@code out_proj(gelu(dense h))} of the first
 * token.
 */
final class ElectraModel implements EncoderFamily {
  @Override
  public String prefix() {
    return "electra";
  }

  @Override
  public EncoderConfig configure(ModelConfig config) {
    config.only("position_embedding_type", List.of("absolute"));
    config.only("is_decoder", List.of(false));
    config.only("add_cross_attention", List.of(false));
    int positions = config.count("max_position_embeddings");
    return new EncoderConfig(
        config.count("vocab_size"),
        config.count("hidden_size"),
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
        config.count("embedding_size", 128));
  }

  @Override
  public EncoderNames names() {
    return EncoderNames.bert();
  }

  @Override
  public int[][] positions(EncoderConfig config, TokenBatch batch, int start, int virtualTokens) {
    return new int[][] {BertModel.countFrom(start, virtualTokens + batch.width())};
  }

  /** Of the generator. */
  @Override
  public Optional<WordHead> wordHead(EncoderConfig config) {
    return Optional.of(
        new WordHead(
            "generator_predictions.dense",
            "generator_predictions.LayerNorm",
            "generator_lm_head",
            "generator_lm_head.bias",
            Activation.GELU));
  }

  @Override
  public List<ModuleSpec> sequenceHead(EncoderConfig config, int outputs) {
    int hidden = config.hidden();
    return List.of(
        ModuleSpec.linear("classifier.dense", hidden, hidden).orElse(ModuleSpec.Origin.FRESH),
        ModuleSpec.linear("classifier.out_proj", hidden, outputs).orElse(ModuleSpec.Origin.FRESH));
  }

  @Override
  public NDArray sequenceLogits(HeadLayers head, NDArray first) {
    NDArray dense = Activation.GELU.apply(head.linear("classifier.dense", first));
    return head.linear("classifier.out_proj", dense); // [batch, outputs]
  }
}
