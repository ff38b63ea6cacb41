package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.nn.Activation;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.nn.Norm;
import org.sparkpeft.core.nn.RelativeBuckets;

/**
 * DeBERTa v2 and v3 (He et al. 2020 and 2021, arXiv 2006.03654 and 2111.09543): an encoder whose
 * scores are the sum of content to content, content to position and position to content; positions
 * are embeddings of distances, seen through the projections of each layer. The sequence head is
 * {@code classifier(activation(pooler h))} of the first token.
 *
 * @param contentToPosition whether a query looks at distances
 * @param positionToContent whether distances look at a key
 * @param buckets groups of distances in one direction; 0 or less for one for each distance
 * @param furthest the largest distance that is told apart
 * @param normed whether the embeddings of distances go through a norm
 * @param pooler function of the sequence head
 * @param languageHead whether the head over the vocabulary is BERT's
 */
record DebertaV2Model(
    boolean contentToPosition,
    boolean positionToContent,
    int buckets,
    int furthest,
    boolean normed,
    Activation pooler,
    boolean languageHead)
    implements EncoderFamily {
  private static final String DISTANCES = "encoder.rel_embeddings";
  private static final String NORM = "encoder.LayerNorm";

  static DebertaV2Model of(ModelConfig config) {
    if (!config.flag("relative_attention", false) || !config.flag("share_att_key", false)) {
      throw config.error(
          "relative_attention and share_att_key must be true; models without are not supported");
    }
    config.only("conv_kernel_size", List.of(0));
    config.only("norm_rel_ebd", List.of("none", "layer_norm"));
    List<String> types = config.texts("pos_att_type");
    if (types.isEmpty()) {
      types = List.of(config.text("pos_att_type", "").split("\\|"));
    }
    for (String type : types) {
      if (!List.of("c2p", "p2c", "").contains(type)) {
        throw config.error("pos_att_type must be of c2p and p2c, got " + types);
      }
    }
    int longest = config.atLeast(-1, "max_relative_positions", -1);
    return new DebertaV2Model(
        types.contains("c2p"),
        types.contains("p2c"),
        config.atLeast(-1, "position_buckets", -1),
        longest < 1 ? config.count("max_position_embeddings") : longest,
        config.text("norm_rel_ebd", "none").equals("layer_norm"),
        config.activation("pooler_hidden_act"),
        config.flag("legacy", true));
  }

  @Override
  public String prefix() {
    return "deberta";
  }

  @Override
  public EncoderConfig configure(ModelConfig config) {
    int hidden = config.count("hidden_size");
    int heads = config.count("num_attention_heads");
    int positions = config.count("max_position_embeddings");
    config.only("embedding_size", List.of(hidden));
    config.only("pooler_hidden_size", List.of(hidden));
    config.only("attention_head_size", List.of(hidden / heads));
    return new EncoderConfig(
        config.count("vocab_size"),
        hidden,
        config.count("num_hidden_layers"),
        heads,
        config.count("intermediate_size"),
        config.activation("hidden_act"),
        (float) config.positive("layer_norm_eps", 1e-7),
        config.flag("position_biased_input", true) ? positions : 0,
        config.atLeast(0, "type_vocab_size", 0),
        config.id("pad_token_id", 0),
        positions,
        config.positive("initializer_range", 0.02),
        hidden);
  }

  @Override
  public EncoderNames names() {
    return EncoderNames.debertaV2();
  }

  @Override
  public int[][] positions(EncoderConfig config, TokenBatch batch, int start, int virtualTokens) {
    return new int[][] {BertModel.countFrom(start, virtualTokens + batch.width())};
  }

  @Override
  public double scoreScale(EncoderConfig config) {
    int parts = 1 + (contentToPosition ? 1 : 0) + (positionToContent ? 1 : 0);
    return 1 / Math.sqrt((double) config.hidden() / config.heads() * parts);
  }

  /** Distances in one direction that have an embedding. */
  private int span() {
    return buckets > 0 ? buckets : furthest;
  }

  @Override
  public List<ModuleSpec> positionModules(EncoderConfig config, String prefix) {
    ModuleSpec table = ModuleSpec.embedding(prefix + DISTANCES, 2 * span(), config.hidden());
    return normed
        ? List.of(table, ModuleSpec.layerNorm(prefix + NORM, config.hidden()))
        : List.of(table);
  }

  /** Queries and keys of distances are the same for all texts. */
  @Override
  public boolean isRowByRow() {
    return false;
  }

  @Override
  public PositionScores positionScores(EncoderConfig config, String prefix, FrozenLayers frozen) {
    Embedding table = frozen.embedding(prefix + DISTANCES);
    Optional<Norm> norm =
        normed ? Optional.of(frozen.layerNorm(prefix + NORM, config.epsilon())) : Optional.empty();
    return (step, tuning, queries, keys) -> {
      NDArray all = step.create(new int[][] {BertModel.countFrom(0, 2 * span())});
      NDArray distances = tuning.embedding(table, all); // [1, 2 span, hidden]
      if (norm.isPresent()) {
        distances = tuning.layerNorm(norm.get(), distances);
      }
      return new Disentangled(this, config, step, tuning, distances, queries, keys);
    };
  }

  /** Row of a distance's embedding. */
  private int row(int distance) {
    int bucket = RelativeBuckets.logarithmic(distance, buckets, furthest);
    return Math.min(2 * span() - 1, Math.max(0, bucket + span()));
  }

  /** The scores with positions of one pass. */
  private static final class Disentangled implements PositionScores.Layers {
    private final DebertaV2Model model;
    private final Tuning tuning;
    private final int heads;
    private final float scale;
    private final NDArray distances;
    private final NDArray byQuery; // [1, 1, queries, keys], rows of distances
    private final NDArray byKey; // [1, 1, keys, queries]

    Disentangled(
        DebertaV2Model model,
        EncoderConfig config,
        NDManager step,
        Tuning tuning,
        NDArray distances,
        int queries,
        int keys) {
      this.model = model;
      this.tuning = tuning;
      this.heads = config.heads();
      this.scale = (float) model.scoreScale(config);
      this.distances = distances;
      long[] rows = new long[queries * keys];
      int before = keys - queries;
      for (int i = 0; i < queries; i++) {
        for (int j = 0; j < keys; j++) {
          rows[i * keys + j] = model.row(before + i - j);
        }
      }
      this.byQuery = step.create(rows, new Shape(1, 1, queries, keys));
      this.byKey = byQuery.transpose(0, 1, 3, 2);
    }

    @Override
    public @Nullable NDArray of(Linear query, Linear key, NDArray q, NDArray k) {
      NDArray sum = null;
      if (model.contentToPosition) {
        NDArray places = split(tuning.linear(key, distances)); // [1, heads, 2 span, size]
        sum = picked(split(q), places, byQuery); // [batch, heads, queries, keys]
      }
      if (model.positionToContent) {
        NDArray places = split(tuning.linear(query, distances));
        NDArray scores = picked(split(k), places, byKey).transpose(0, 1, 3, 2);
        sum = sum == null ? scores : sum.add(scores);
      }
      return sum == null ? null : Scalars.times(sum, scale);
    }

    /** {@code [batch, seq, hidden]} to {@code [batch, heads, seq, size]}. */
    private NDArray split(NDArray x) {
      Shape shape = x.getShape();
      return x.reshape(shape.get(0), shape.get(1), heads, shape.get(2) / heads)
          .transpose(0, 2, 1, 3);
    }

    /** Products of content with the embeddings of the distances that {@code rows} names. */
    private static NDArray picked(NDArray content, NDArray places, NDArray rows) {
      NDArray products = content.matMul(places.transpose(0, 1, 3, 2)); // [.., seq, 2 span]
      Shape shape = products.getShape();
      Shape wanted =
          new Shape(shape.get(0), shape.get(1), rows.getShape().get(2), rows.getShape().get(3));
      return products.gather(rows.broadcast(wanted), 3);
    }
  }

  @Override
  public Optional<WordHead> wordHead(EncoderConfig config) {
    return languageHead ? Optional.of(WordHead.bert(config.activation())) : Optional.empty();
  }

  @Override
  public List<ModuleSpec> sequenceHead(EncoderConfig config, int outputs) {
    int hidden = config.hidden();
    return List.of(
        ModuleSpec.linear("pooler.dense", hidden, hidden).orElse(ModuleSpec.Origin.FRESH),
        ModuleSpec.linear("classifier", hidden, outputs).orElse(ModuleSpec.Origin.FRESH));
  }

  @Override
  public NDArray sequenceLogits(HeadLayers head, NDArray first) {
    NDArray pooled = pooler.apply(head.linear("pooler.dense", first)); // [batch, hidden]
    return head.linear("classifier", pooled); // [batch, outputs]
  }
}
