package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.engine.AttentionKernel;
import org.sparkpeft.core.nn.Activation;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.nn.Norm;

/**
 * OPT (Zhang et al. 2022, arXiv 2205.01068): learned positions, which start at row 2 and do not
 * count padding. The model of 350 million parameters differs: it normalises after each block, and
 * its word embeddings are smaller than its states.
 *
 * @param sizes whose states are those after the last projection, as large as a word embedding
 * @param hidden size of the states within the layers
 * @param normFirst whether norms come before the blocks
 * @param finalNorm whether there is a norm after the last layer
 */
record OptModel(
    ModelSizes sizes,
    int hidden,
    int inner,
    Activation activation,
    boolean bias,
    boolean normFirst,
    boolean finalNorm,
    boolean tied)
    implements Architecture {
  private static final int FIRST_POSITION = 2;
  private static final float EPSILON = 1e-5f;

  static OptModel of(ModelConfig config) {
    int hidden = config.count("hidden_size");
    int heads = config.count("num_attention_heads");
    config.requireDivides("attention heads", heads, "the hidden size", hidden);
    config.only("layer_norm_elementwise_affine", List.of(true));
    boolean normFirst = config.flag("do_layer_norm_before", true);
    return new OptModel(
        new ModelSizes(
            config.count("vocab_size"),
            config.count("word_embed_proj_dim", hidden),
            config.count("num_hidden_layers"),
            heads,
            config.id("pad_token_id", 1),
            config.count("max_position_embeddings"),
            config.positive("init_std", 0.02)),
        hidden,
        config.count("ffn_dim"),
        config.activation("activation_function", "relu"),
        config.flag("enable_bias", true),
        normFirst,
        normFirst && !config.flag("_remove_final_layer_norm", false),
        config.flag("tie_word_embeddings", true));
  }

  @Override
  public String prefix() {
    return "model";
  }

  private boolean projects() {
    return sizes.hidden() != hidden;
  }

  @Override
  public ModuleTree modules(HeadConfig head) {
    String base = DecoderHead.path(prefix(), head) + "decoder.";
    int rows = sizes.maxTokens() + FIRST_POSITION;
    List<ModuleSpec> modules = new ArrayList<>();
    List<LayerPaths> layers = new ArrayList<>();
    modules.add(ModuleSpec.embedding(base + "embed_tokens", sizes.vocabulary(), sizes.hidden()));
    modules.add(ModuleSpec.embedding(base + "embed_positions", rows, hidden));
    if (projects()) {
      modules.add(ModuleSpec.linear(base + "project_in", sizes.hidden(), hidden, false));
    }
    for (int i = 0; i < sizes.layers(); i++) {
      String layer = base + "layers." + i + ".";
      String attention = layer + "self_attn.";
      modules.add(ModuleSpec.linear(attention + "q_proj", hidden, hidden, bias));
      modules.add(ModuleSpec.linear(attention + "k_proj", hidden, hidden, bias));
      modules.add(ModuleSpec.linear(attention + "v_proj", hidden, hidden, bias));
      modules.add(ModuleSpec.linear(attention + "out_proj", hidden, hidden, bias));
      modules.add(ModuleSpec.layerNorm(layer + "self_attn_layer_norm", hidden));
      modules.add(ModuleSpec.linear(layer + "fc1", hidden, inner, bias));
      modules.add(ModuleSpec.linear(layer + "fc2", inner, hidden, bias));
      modules.add(ModuleSpec.layerNorm(layer + "final_layer_norm", hidden));
      layers.add(
          new LayerPaths(
              attention + "q_proj",
              attention + "k_proj",
              attention + "v_proj",
              attention + "out_proj",
              layer + "self_attn_layer_norm",
              layer + "fc1",
              layer + "fc2",
              layer + "final_layer_norm"));
    }
    if (finalNorm) {
      modules.add(ModuleSpec.layerNorm(base + "final_layer_norm", hidden));
    }
    if (projects()) {
      modules.add(ModuleSpec.linear(base + "project_out", hidden, sizes.hidden(), false));
    }
    modules.addAll(DecoderHead.modules(head, sizes, base + "embed_tokens", tied));
    return new ModuleTree(
        modules,
        new ModuleTree.Structure(
            layers,
            hidden,
            sizes.heads(),
            hidden,
            base + "embed_tokens",
            DecoderHead.output(head)));
  }

  @Override
  public Network network(HeadConfig head, FrozenLayers frozen, NDManager manager) {
    return new Decoder(this, head, frozen, manager);
  }

  private record Layer(
      Linear query,
      Linear key,
      Linear value,
      Linear output,
      Norm attentionNorm,
      Linear up,
      Linear down,
      Norm mlpNorm) {}

  private static final class Decoder extends DecoderNetwork {
    private final OptModel config;
    private final Embedding words;
    private final Embedding places;
    private final Optional<Linear> in;
    private final List<Layer> layers = new ArrayList<>();
    private final Optional<Norm> norm;
    private final Optional<Linear> out;

    Decoder(OptModel config, HeadConfig head, FrozenLayers frozen, NDManager manager) {
      super(
          new DecoderHead(head, frozen),
          AttentionKernel.Form.of(config.sizes.heads(), config.hidden / config.sizes.heads()),
          manager);
      this.config = config;
      String base = DecoderHead.path(config.prefix(), head) + "decoder.";
      this.words = frozen.embedding(base + "embed_tokens");
      this.places = frozen.embedding(base + "embed_positions");
      for (int i = 0; i < config.sizes.layers(); i++) {
        String layer = base + "layers." + i + ".";
        layers.add(
            new Layer(
                frozen.linear(layer + "self_attn.q_proj"),
                frozen.linear(layer + "self_attn.k_proj"),
                frozen.linear(layer + "self_attn.v_proj"),
                frozen.linear(layer + "self_attn.out_proj"),
                frozen.layerNorm(layer + "self_attn_layer_norm", EPSILON),
                frozen.linear(layer + "fc1"),
                frozen.linear(layer + "fc2"),
                frozen.layerNorm(layer + "final_layer_norm", EPSILON)));
      }
      boolean projects = config.projects();
      this.in = projects ? Optional.of(frozen.linear(base + "project_in")) : Optional.empty();
      this.norm =
          config.finalNorm
              ? Optional.of(frozen.layerNorm(base + "final_layer_norm", EPSILON))
              : Optional.empty();
      this.out = projects ? Optional.of(frozen.linear(base + "project_out")) : Optional.empty();
    }

    @Override
    NDArray read(Pass pass, TokenBatch batch) {
      Pass.requireVirtualTokensFit(pass.tuning(), config.sizes.hidden(), config.hidden);
      NDArray x = pass.part(inside -> embedded(inside, batch)); // [batch, seq, hidden]
      Visibility visible = Visibility.causal(pass, batch, 0);
      for (Layer layer : layers) {
        x = pass.layer(x, (inside, stream) -> after(inside, layer, stream, visible));
      }
      if (norm.isPresent()) {
        x = pass.norm(norm.get(), x);
      }
      return out.isPresent() ? pass.linear(out.get(), x) : x;
    }

    private NDArray embedded(Pass pass, TokenBatch batch) {
      NDArray x = embedded(pass, words, batch);
      if (in.isPresent()) {
        x = pass.linear(in.get(), x);
      }
      return x.add(pass.embedding(places, rows(pass, batch)));
    }

    private NDArray after(Pass pass, Layer layer, NDArray x, Visibility visible) {
      NDArray heads = attention(pass, layer, before(pass, layer.attentionNorm, x), visible);
      NDArray attended = add(pass, layer.output.path(), layer.attentionNorm, x, heads);
      NDArray inner = pass.linear(layer.up, before(pass, layer.mlpNorm, attended));
      NDArray outer = pass.linear(layer.down, config.activation.apply(inner));
      return add(pass, layer.down.path(), layer.mlpNorm, attended, outer);
    }

    /** Rows of the position embedding, {@code [1 or batch, seq]}. */
    private static NDArray rows(Pass pass, TokenBatch batch) {
      int[][] rows = Visibility.positionsWithoutPadding(pass, batch);
      for (int[] row : rows) {
        for (int i = 0; i < row.length; i++) {
          row[i] += FIRST_POSITION;
        }
      }
      return pass.step().create(rows);
    }

    private NDArray before(Pass pass, Norm norm, NDArray x) {
      return config.normFirst ? pass.norm(norm, x) : x;
    }

    private NDArray add(Pass pass, String path, Norm norm, NDArray x, NDArray out) {
      return config.normFirst
          ? pass.tuning().residual(path, x, out)
          : pass.tuning().residual(path, norm, x, out);
    }

    private NDArray attention(Pass pass, Layer layer, NDArray x, Visibility visible) {
      NDArray k = pass.linear(layer.key, x);
      NDArray v = pass.linear(layer.value, x);
      Tuning.KeyValue past = pass.past(layer.key.path(), k, v);
      NDArray q = pass.linear(layer.query, x);
      NDArray heads = attend(visible, q, past);
      heads = pass.tuning().attended(layer.key, layer.value, q, heads);
      return pass.linear(layer.output, heads); // [batch, seq, hidden]
    }
  }
}
