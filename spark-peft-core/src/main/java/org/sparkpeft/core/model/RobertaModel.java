package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import java.util.List;
import java.util.Optional;

/**
 * RoBERTa (Liu et al. 2019, arXiv 1907.11692) and XLM-RoBERTa: BERT's encoder with positions that
 * start after the padding id and skip padding, and another sequence head, {@code
 * out_proj(tanh(dense h))} of the first token.
 */
final class RobertaModel implements EncoderFamily {
  @Override
  public String prefix() {
    return "roberta";
  }

  @Override
  public EncoderConfig configure(ModelConfig config) {
    config.only("position_embedding_type", List.of("absolute"));
    config.only("is_decoder", List.of(false));
    config.only("add_cross_attention", List.of(false));
    int hidden = config.count("hidden_size");
    int positions = config.count("max_position_embeddings");
    int padId = config.id("pad_token_id", 1);
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
        padId,
        positions - padId - 1,
        config.positive("initializer_range", 0.02),
        hidden);
  }

  @Override
  public EncoderNames names() {
    return EncoderNames.bert();
  }

  @Override
  public int[][] positions(EncoderConfig config, TokenBatch batch, int start, int virtualTokens) {
    int first = config.padId() + 1 + start;
    if (virtualTokens > 0) { // rows without ids: Hugging Face counts through
      return new int[][] {BertModel.countFrom(first, virtualTokens + batch.width())};
    }
    int[] ids = batch.flatIds();
    int[][] positions = new int[batch.size()][batch.width()];
    for (int row = 0; row < batch.size(); row++) {
      int next = first;
      for (int t = 0; t < batch.width(); t++) {
        boolean pad = ids[row * batch.width() + t] == config.padId();
        positions[row][t] = pad ? config.padId() : next++;
      }
    }
    return positions;
  }

  @Override
  public Optional<WordHead> wordHead(EncoderConfig config) {
    return Optional.of(WordHead.roberta());
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
    NDArray dense = head.linear("classifier.dense", first).tanh(); // [batch, hidden]
    return head.linear("classifier.out_proj", dense); // [batch, outputs]
  }
}
