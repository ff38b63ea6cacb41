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
 * The encoder that BERT, RoBERTa and DistilBERT share: embeddings, then layers of attention and
 * feed-forward blocks, each added to its input and normalised after the addition.
 */
final class PostNormEncoder {
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
  private final Embedding positions;
  private final Optional<Embedding> segments;
  private final LayerNorm embeddingNorm;
  private final List<Layer> layers = new ArrayList<>();

  /** The modules of such an encoder, in forward order. */
  static List<ModuleSpec> modules(EncoderConfig c, EncoderNames names, String prefix) {
    List<ModuleSpec> modules = new ArrayList<>();
    String embeddings = prefix + "embeddings.";
    modules.add(ModuleSpec.embedding(embeddings + "word_embeddings", c.vocabulary(), c.hidden()));
    modules.add(
        ModuleSpec.embedding(embeddings + "position_embeddings", c.positionRows(), c.hidden()));
    if (c.segments() > 0) {
      modules.add(
          ModuleSpec.embedding(embeddings + "token_type_embeddings", c.segments(), c.hidden()));
    }
    modules.add(ModuleSpec.layerNorm(embeddings + "LayerNorm", c.hidden()));
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
    return modules;
  }

  /** How such an encoder is built. */
  static ModuleTree.Structure structure(EncoderConfig c, EncoderNames names, String prefix) {
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
        layers, c.hidden(), c.heads(), c.hidden(), prefix + "embeddings.word_embeddings", "");
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
    this.words = frozen.embedding(embeddings + "word_embeddings");
    this.positions = frozen.embedding(embeddings + "position_embeddings");
    this.segments =
        config.segments() > 0
            ? Optional.of(frozen.embedding(embeddings + "token_type_embeddings"))
            : Optional.empty();
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
  NDArray forward(NDManager step, TokenBatch batch, Tuning tuning) {
    NDArray x = embed(step, batch, tuning); // [batch, seq, hidden]
    NDArray mask = mask(step, batch, tuning.prefixLength(), tuning.virtualTokens());
    for (Layer layer : layers) {
      NDArray attended = attend(layer, x, mask, tuning); // [batch, seq, hidden]
      x = tuning.residual(layer.attentionOutput.path(), layer.attentionNorm, x, attended);
      NDArray inner = tuning.linear(layer.intermediate, x); // [batch, seq, intermediate]
      NDArray outer = tuning.linear(layer.output, config.activation().apply(inner));
      x = tuning.residual(layer.output.path(), layer.outputNorm, x, outer);
    }
    return x;
  }

  private NDArray embed(NDManager step, TokenBatch batch, Tuning tuning) {
    NDArray ids = step.create(batch.flatIds(), new Shape(batch.size(), batch.width()));
    NDArray x = tuning.inputEmbeddings(tuning.embedding(words, ids)); // [batch, seq, hidden]
    int virtual = tuning.virtualTokens();
    if (segments.isPresent()) {
      x = x.add(tuning.embedding(segments.get(), segmentIds(step, batch, virtual)));
    }
    int[][] places = family.positions(config, batch, tuning.prefixLength(), virtual);
    NDArray placeIds = step.create(places); // [1 or batch, seq]
    x = x.add(tuning.embedding(positions, placeIds)); // [batch, seq, hidden]
    return tuning.layerNorm(embeddingNorm, x);
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

  private NDArray attend(Layer layer, NDArray x, @Nullable NDArray mask, Tuning tuning) {
    NDArray q = tuning.linear(layer.query, x); // [batch, seq, hidden]
    NDArray k = tuning.linear(layer.key, x); // [batch, seq, hidden]
    NDArray v = tuning.linear(layer.value, x); // [batch, seq, hidden]
    Optional<Tuning.KeyValue> prefix = tuning.prefix(layer.key.path(), x.getShape().get(0));
    if (prefix.isPresent()) {
      k = prefix.get().keys().concat(k, 1); // [batch, prefix + seq, hidden]
      v = prefix.get().values().concat(v, 1); // [batch, prefix + seq, hidden]
    }
    NDArray heads = mask == null ? attention.apply(q, k, v) : attention.apply(q, k, v, mask);
    heads = tuning.attended(layer.key, layer.value, q, heads);
    return tuning.linear(layer.attentionOutput, heads); // [batch, seq, hidden]
  }
}
