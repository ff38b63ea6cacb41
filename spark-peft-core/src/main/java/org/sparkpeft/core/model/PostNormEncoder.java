package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.engine.AttentionKernel;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.LayerNorm;
import org.sparkpeft.core.nn.Linear;

/**
 * The encoder that BERT and its relatives share: embeddings, then layers of attention and
 * feed-forward blocks, each added to its input and normalised after the addition.
 */
final class PostNormEncoder {
  /** Path of the word embeddings. */
  static final String WORDS = "embeddings.word_embeddings";

  private static final String PROJECTION = "embeddings_project";

  /** Score added to padded keys: their weight becomes exactly 0. */
  private static final float IGNORE = -3.4028235e38f;

  private record Layer(
      Linear query,
      Linear key,
      Linear value,
      Linear attentionOutput,
      LayerNorm attentionNorm,
      Linear intermediate,
      Linear output,
      LayerNorm outputNorm) {}

  private final EncoderConfig config;
  private final EncoderFamily family;
  private final AttentionKernel attention;
  private final Embedding words;
  private final Optional<Embedding> positions;
  private final Optional<Embedding> segments;
  private final LayerNorm embeddingNorm;
  private final Optional<Linear> projection;
  private final PositionScores positionScores;
  private final List<Layer> layers = new ArrayList<>();

  /** The modules of such an encoder, in forward order. */
  static List<ModuleSpec> modules(EncoderConfig c, EncoderFamily family, String prefix) {
    EncoderNames names = family.names();
    List<ModuleSpec> modules = new ArrayList<>();
    String embeddings = prefix + "embeddings.";
    int size = c.embedding();
    modules.add(ModuleSpec.embedding(prefix + WORDS, c.vocabulary(), size));
    if (c.positionRows() > 0) {
      modules.add(ModuleSpec.embedding(embeddings + "position_embeddings", c.positionRows(), size));
    }
    if (c.segments() > 0) {
      modules.add(ModuleSpec.embedding(embeddings + "token_type_embeddings", c.segments(), size));
    }
    modules.add(ModuleSpec.layerNorm(embeddings + "LayerNorm", size));
    if (size != c.hidden()) {
      modules.add(ModuleSpec.linear(prefix + PROJECTION, size, c.hidden()));
    }
    for (int i = 0; i < c.layers(); i++) {
      String layer = prefix + names.layers() + "." + i + ".";
      modules.add(ModuleSpec.linear(layer + names.query(), c.hidden(), c.hidden()));
      modules.add(ModuleSpec.linear(layer + names.key(), c.hidden(), c.hidden()));
      modules.add(ModuleSpec.linear(layer + names.value(), c.hidden(), c.hidden()));
      modules.add(ModuleSpec.linear(layer + names.attentionOutput(), c.hidden(), c.hidden()));
      modules.add(ModuleSpec.layerNorm(layer + names.attentionNorm(), c.hidden()));
      modules.add(ModuleSpec.linear(layer + names.intermediate(), c.hidden(), c.intermediate()));
      modules.add(ModuleSpec.linear(layer + names.output(), c.intermediate(), c.hidden()));
      modules.add(ModuleSpec.layerNorm(layer + names.outputNorm(), c.hidden()));
    }
    modules.addAll(family.positionModules(c, prefix));
    return modules;
  }

  /**
   * How such an encoder is built.
   *
   * @param output path of the layer over the vocabulary, or empty
   */
  static ModuleTree.Structure structure(
      EncoderConfig c, EncoderNames names, String prefix, String output) {
    List<LayerPaths> layers = new ArrayList<>();
    for (int i = 0; i < c.layers(); i++) {
      String layer = prefix + names.layers() + "." + i + ".";
      layers.add(
          new LayerPaths(
              layer + names.query(),
              layer + names.key(),
              layer + names.value(),
              layer + names.attentionOutput(),
              layer + names.attentionNorm(),
              layer + names.intermediate(),
              layer + names.output(),
              layer + names.outputNorm()));
    }
    return new ModuleTree.Structure(
        layers, c.hidden(), c.heads(), c.hidden(), prefix + WORDS, output);
  }

  PostNormEncoder(
      EncoderConfig config,
      EncoderFamily family,
      String prefix,
      FrozenLayers frozen,
      AttentionKernel attention) {
    this.config = config;
    this.family = family;
    this.attention = attention;
    String embeddings = prefix + "embeddings.";
    this.words = frozen.embedding(prefix + WORDS);
    this.positions =
        config.positionRows() > 0
            ? Optional.of(frozen.embedding(embeddings + "position_embeddings"))
            : Optional.empty();
    this.segments =
        config.segments() > 0
            ? Optional.of(frozen.embedding(embeddings + "token_type_embeddings"))
            : Optional.empty();
    this.projection =
        config.embedding() != config.hidden()
            ? Optional.of(frozen.linear(prefix + PROJECTION))
            : Optional.empty();
    this.positionScores = family.positionScores(config, prefix, frozen);
    this.embeddingNorm = frozen.layerNorm(embeddings + "LayerNorm", config.epsilon());
    EncoderNames names = family.names();
    for (int i = 0; i < config.layers(); i++) {
      String layer = prefix + names.layers() + "." + i + ".";
      layers.add(
          new Layer(
              frozen.linear(layer + names.query()),
              frozen.linear(layer + names.key()),
              frozen.linear(layer + names.value()),
              frozen.linear(layer + names.attentionOutput()),
              frozen.layerNorm(layer + names.attentionNorm(), config.epsilon()),
              frozen.linear(layer + names.intermediate()),
              frozen.linear(layer + names.output()),
              frozen.layerNorm(layer + names.outputNorm(), config.epsilon())));
    }
  }

  /**
   * The last hidden states.
   *
   * @return {@code [batch, virtual tokens + seq, hidden]}; rows of padding mean nothing
   */
  NDArray forward(Pass pass, TokenBatch batch) {
    return forward(pass, batch, Integer.MAX_VALUE);
  }

  /**
   * The last hidden states of the first tokens; of all where the distance between tokens acts on
   * the scores.
   *
   * @param count how many, virtual tokens included
   * @return {@code [batch, count, hidden]}
   */
  NDArray forward(Pass pass, TokenBatch batch, int count) {
    NDManager step = pass.step();
    Tuning tuning = pass.tuning();
    NDArray x = pass.part(in -> embed(in.step(), batch, tuning)); // [batch, seq, hidden]
    NDArray mask = mask(step, batch, tuning.prefixLength(), tuning.virtualTokens());
    int tokens = tuning.virtualTokens() + batch.width();
    PositionScores.Layers scores =
        positionScores.start(step, tuning, tokens, tuning.prefixLength() + tokens);
    int last = positionScores == PositionScores.NONE ? layers.size() - 1 : layers.size();
    for (int i = 0; i < layers.size(); i++) {
      Layer layer = layers.get(i);
      int wanted = i < last ? Integer.MAX_VALUE : count;
      x = pass.layer(x, (in, stream) -> after(in, layer, stream, wanted, scores, mask));
    }
    return x;
  }

  /** The stream after a layer, of its first tokens. */
  private NDArray after(
      Pass pass,
      Layer layer,
      NDArray x,
      int count,
      PositionScores.Layers scores,
      @Nullable NDArray mask) {
    Tuning tuning = pass.tuning();
    NDArray first = Pooling.first(x, count);
    NDArray heads = attend(pass, layer, first, x, scores, mask); // [batch, count, hidden]
    NDArray attended =
        tuning.residual(layer.attentionOutput.path(), layer.attentionNorm, first, heads);
    NDArray inner = pass.linear(layer.intermediate, attended); // [batch, count, intermediate]
    NDArray outer = pass.linear(layer.output, config.activation().apply(inner));
    return tuning.residual(layer.output.path(), layer.outputNorm, attended, outer);
  }

  private NDArray embed(NDManager step, TokenBatch batch, Tuning tuning) {
    Pass.requireVirtualTokensFit(tuning, config.embedding(), config.hidden());
    NDArray ids = step.create(batch.flatIds(), new Shape(batch.size(), batch.width()));
    NDArray x = tuning.inputEmbeddings(tuning.embedding(words, ids)); // [batch, seq, embedding]
    int virtual = tuning.virtualTokens();
    if (segments.isPresent()) {
      x = x.add(tuning.embedding(segments.get(), segmentIds(step, batch, virtual)));
    }
    if (positions.isPresent()) {
      int[][] places = family.positions(config, batch, tuning.prefixLength(), virtual);
      x = x.add(tuning.embedding(positions.get(), step.create(places)));
    }
    x = tuning.layerNorm(embeddingNorm, x); // [batch, seq, embedding]
    return projection.isPresent() ? tuning.linear(projection.get(), x) : x;
  }

  private static NDArray segmentIds(NDManager step, TokenBatch batch, int virtual) {
    if (!batch.hasTypes()) {
      return step.create(new int[1], new Shape(1, 1)); // segment 0 for every token
    }
    int width = virtual + batch.width();
    int[] types = batch.flatTypes();
    int[] shifted = new int[batch.size() * width];
    for (int row = 0; row < batch.size(); row++) {
      System.arraycopy(types, row * batch.width(), shifted, row * width + virtual, batch.width());
    }
    return step.create(shifted, new Shape(batch.size(), width));
  }

  /** {@code [batch, 1, 1, keys]} to be added to the scores, or null when every key counts. */
  private static @Nullable NDArray mask(NDManager step, TokenBatch batch, int prefix, int virtual) {
    if (!batch.isPadded()) {
      return null;
    }
    int before = prefix + virtual;
    int keys = before + batch.width();
    float[] mask = new float[batch.size() * keys];
    for (int row = 0; row < batch.size(); row++) {
      Arrays.fill(mask, row * keys + before + batch.length(row), (row + 1) * keys, IGNORE);
    }
    return step.create(mask, new Shape(batch.size(), 1, 1, keys));
  }

  /**
   * @param first the tokens that attend
   * @param x those that are attended to
   */
  private NDArray attend(
      Pass pass,
      Layer layer,
      NDArray first,
      NDArray x,
      PositionScores.Layers scores,
      @Nullable NDArray mask) {
    NDArray q = pass.linear(layer.query, first); // [batch, count, hidden]
    NDArray k = pass.linear(layer.key, x); // [batch, seq, hidden]
    NDArray v = pass.linear(layer.value, x); // [batch, seq, hidden]
    Tuning.KeyValue past = pass.past(layer.key.path(), k, v); // [batch, prefix + seq, hidden]
    NDArray added = sum(scores.of(layer.query, layer.key, q, past.keys()), mask);
    NDArray heads =
        added == null
            ? attention.apply(q, past.keys(), past.values())
            : attention.apply(q, past.keys(), past.values(), added);
    heads = pass.tuning().attended(layer.key, layer.value, q, heads);
    return pass.linear(layer.attentionOutput, heads); // [batch, count, hidden]
  }

  private static @Nullable NDArray sum(@Nullable NDArray scores, @Nullable NDArray mask) {
    if (scores == null || mask == null) {
      return scores == null ? mask : scores;
    }
    return scores.add(mask); // [batch, heads, seq, keys]
  }
}
