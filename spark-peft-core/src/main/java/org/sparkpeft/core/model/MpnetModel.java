package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.RelativeBuckets;

/**
 * MPNet (Song et al. 2020, arXiv 2004.09297): RoBERTa's encoder and sequence head without token
 * types, and scores that depend on the distance of two tokens, the same in all layers.
 *
 * @param tableRows rows of the table of those scores; the first 32 are used
 */
record MpnetModel(int tableRows) implements EncoderFamily {
  private static final int BUCKETS = 32; // whatever the configuration says
  private static final int FURTHEST = 128;
  private static final String TABLE = "encoder.relative_attention_bias";
  private static final RobertaModel ROBERTA = new RobertaModel();

  static MpnetModel of(ModelConfig config) {
    int rows = config.count("relative_attention_num_buckets", BUCKETS);
    if (rows < BUCKETS) {
      throw config.error("relative_attention_num_buckets must be 32 or more, got " + rows);
    }
    return new MpnetModel(rows);
  }

  @Override
  public String prefix() {
    return "mpnet";
  }

  @Override
  public EncoderConfig configure(ModelConfig config) {
    config.only("pad_token_id", List.of(1)); // positions start after it
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
        0,
        1,
        positions - 2,
        config.positive("initializer_range", 0.02),
        hidden);
  }

  @Override
  public EncoderNames names() {
    return EncoderNames.mpnet();
  }

  @Override
  public int[][] positions(EncoderConfig config, TokenBatch batch, int start, int virtualTokens) {
    return ROBERTA.positions(config, batch, start, virtualTokens);
  }

  @Override
  public List<ModuleSpec> positionModules(EncoderConfig config, String prefix) {
    return List.of(ModuleSpec.embedding(prefix + TABLE, tableRows, config.heads()));
  }

  @Override
  public PositionScores positionScores(EncoderConfig config, String prefix, FrozenLayers frozen) {
    Embedding table = frozen.embedding(prefix + TABLE);
    return (step, tuning, queries, keys) -> {
      int[][] buckets = new int[queries][keys];
      int before = keys - queries;
      for (int i = 0; i < queries; i++) {
        for (int j = 0; j < keys; j++) {
          buckets[i][j] = RelativeBuckets.bothWays(j - before - i, BUCKETS, FURTHEST);
        }
      }
      NDArray rows = tuning.embedding(table, step.create(buckets)); // [queries, keys, heads]
      NDArray scores = rows.transpose(2, 0, 1).expandDims(0); // [1, heads, queries, keys]
      return (query, key, q, k) -> scores;
    };
  }

  @Override
  public Optional<WordHead> wordHead(EncoderConfig config) {
    return ROBERTA.wordHead(config);
  }

  @Override
  public List<ModuleSpec> sequenceHead(EncoderConfig config, int outputs) {
    return ROBERTA.sequenceHead(config, outputs);
  }

  @Override
  public NDArray sequenceLogits(HeadLayers head, NDArray first) {
    return ROBERTA.sequenceLogits(head, first);
  }
}
