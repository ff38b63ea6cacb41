package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.engine.AttentionKernel;
import org.sparkpeft.core.nn.Activation;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.nn.Norm;
import org.sparkpeft.core.nn.Rotary;

/**
 * Llama (Touvron et al. 2023, arXiv 2302.13971 and 2307.09288): pre-norm by root mean square,
 * rotary positions, gated feed-forward block, key heads shared by several query heads. Mistral
 * (Jiang et al. 2023, arXiv 2310.06825) adds a sliding window, Qwen2 (arXiv 2407.10671) biases of
 * the queries, keys and values and a window in its upper layers, Qwen3 (arXiv 2505.09388) a norm of
 * each head's queries and keys.
 */
record LlamaModel(
    ModelSizes sizes,
    int keyHeads,
    int headSize,
    int intermediate,
    Activation activation,
    float epsilon,
    Variant variant,
    boolean tied,
    RotaryConfig rotary,
    LayerWindows windows)
    implements Architecture {

  /**
   * @param inputBias whether the projections of queries, keys and values have biases
   * @param outputBias whether the projection of the joined heads has one
   * @param mlpBias whether the feed-forward layers have biases
   * @param headNorms whether queries and keys are normalised before they turn
   */
  record Variant(boolean inputBias, boolean outputBias, boolean mlpBias, boolean headNorms) {}

  static LlamaModel of(ModelConfig config) {
    config.only("pretraining_tp", List.of(1));
    boolean bias = config.flag("attention_bias", false);
    Variant variant = new Variant(bias, bias, config.flag("mlp_bias", false), false);
    return of(config, variant, LayerWindows.none(config.count("num_hidden_layers")));
  }

  static LlamaModel mistral(ModelConfig config) {
    int layers = config.count("num_hidden_layers");
    Variant variant = new Variant(false, false, false, false);
    return of(config, variant, LayerWindows.everywhere(config, layers));
  }

  static LlamaModel qwen2(ModelConfig config) {
    return of(config, new Variant(true, false, false, false), qwenWindows(config));
  }

  static LlamaModel qwen3(ModelConfig config) {
    boolean bias = config.flag("attention_bias", false);
    return of(config, new Variant(bias, bias, false, true), qwenWindows(config));
  }

  private static LayerWindows qwenWindows(ModelConfig config) {
    boolean used = config.flag("use_sliding_window", false);
    int window = used ? config.count("sliding_window", 4096) : 0;
    int first = config.atLeast(0, "max_window_layers", 28);
    return LayerWindows.of(config, config.count("num_hidden_layers"), window, i -> i >= first);
  }

  private static LlamaModel of(ModelConfig config, Variant variant, LayerWindows windows) {
    int hidden = config.count("hidden_size");
    int heads = config.count("num_attention_heads");
    int keyHeads = config.count("num_key_value_heads", heads);
    config.requireDivides("key heads", keyHeads, "the attention heads", heads);
    boolean given = config.has("head_dim") || variant.headNorms;
    if (!given) {
      config.requireDivides("attention heads", heads, "the hidden size", hidden);
    }
    int headSize = config.count("head_dim", variant.headNorms ? 128 : hidden / heads);
    int positions = config.count("max_position_embeddings", 2048);
    return new LlamaModel(
        new ModelSizes(
            config.count("vocab_size"),
            hidden,
            config.count("num_hidden_layers"),
            heads,
            config.id("pad_token_id", 0),
            positions,
            config.positive("initializer_range", 0.02)),
        keyHeads,
        headSize,
        config.count("intermediate_size"),
        config.activation("hidden_act", "silu"),
        (float) config.positive("rms_norm_eps", 1e-6),
        variant,
        config.flag("tie_word_embeddings", false),
        RotaryConfig.of(config, headSize, positions),
        windows);
  }

  @Override
  public String prefix() {
    return "model";
  }

  @Override
  public ModuleTree modules(HeadConfig head) {
    String base = DecoderHead.path(prefix(), head);
    int hidden = sizes.hidden();
    int queries = sizes.heads() * headSize;
    int keys = keyHeads * headSize;
    List<ModuleSpec> modules = new ArrayList<>();
    List<LayerPaths> layers = new ArrayList<>();
    modules.add(ModuleSpec.embedding(base + "embed_tokens", sizes.vocabulary(), hidden));
    for (int i = 0; i < sizes.layers(); i++) {
      String layer = base + "layers." + i + ".";
      String attention = layer + "self_attn.";
      String mlp = layer + "mlp.";
      modules.add(ModuleSpec.linear(attention + "q_proj", hidden, queries, variant.inputBias));
      modules.add(ModuleSpec.linear(attention + "k_proj", hidden, keys, variant.inputBias));
      modules.add(ModuleSpec.linear(attention + "v_proj", hidden, keys, variant.inputBias));
      modules.add(ModuleSpec.linear(attention + "o_proj", queries, hidden, variant.outputBias));
      if (variant.headNorms) {
        modules.add(ModuleSpec.rmsNorm(attention + "q_norm", headSize));
        modules.add(ModuleSpec.rmsNorm(attention + "k_norm", headSize));
      }
      modules.add(ModuleSpec.linear(mlp + "gate_proj", hidden, intermediate, variant.mlpBias));
      modules.add(ModuleSpec.linear(mlp + "up_proj", hidden, intermediate, variant.mlpBias));
      modules.add(ModuleSpec.linear(mlp + "down_proj", intermediate, hidden, variant.mlpBias));
      modules.add(ModuleSpec.rmsNorm(layer + "input_layernorm", hidden));
      modules.add(ModuleSpec.rmsNorm(layer + "post_attention_layernorm", hidden));
      layers.add(
          new LayerPaths(
              attention + "q_proj",
              attention + "k_proj",
              attention + "v_proj",
              attention + "o_proj",
              layer + "input_layernorm",
              mlp + "up_proj",
              mlp + "down_proj",
              layer + "post_attention_layernorm"));
    }
    modules.add(ModuleSpec.rmsNorm(base + "norm", hidden));
    modules.addAll(DecoderHead.modules(head, sizes, base + "embed_tokens", tied));
    return new ModuleTree(
        modules,
        new ModuleTree.Structure(
            layers,
            hidden,
            sizes.heads(),
            keyHeads,
            keys,
            base + "embed_tokens",
            DecoderHead.output(head)));
  }

  @Override
  public Network network(HeadConfig head, FrozenLayers frozen, NDManager manager) {
    return new Decoder(this, head, frozen, manager);
  }

  private record Layer(
      Norm attentionNorm,
      Linear query,
      Linear key,
      Linear value,
      Optional<Norm> queryNorm,
      Optional<Norm> keyNorm,
      Linear output,
      Norm mlpNorm,
      Linear gate,
      Linear up,
      Linear down) {}

  private static final class Decoder extends DecoderNetwork {
    private final LlamaModel config;
    private final Embedding words;
    private final List<Layer> layers = new ArrayList<>();
    private final Norm norm;

    Decoder(LlamaModel config, HeadConfig head, FrozenLayers frozen, NDManager manager) {
      super(
          new DecoderHead(head, frozen),
          AttentionKernel.Form.of(config.sizes.heads(), config.keyHeads, config.headSize),
          manager);
      this.config = config;
      String base = DecoderHead.path(config.prefix(), head);
      this.words = frozen.embedding(base + "embed_tokens");
      for (int i = 0; i < config.sizes.layers(); i++) {
        layers.add(layer(frozen, base + "layers." + i + "."));
      }
      this.norm = frozen.rmsNorm(base + "norm", config.epsilon);
    }

    private Layer layer(FrozenLayers frozen, String path) {
      return new Layer(
          frozen.rmsNorm(path + "input_layernorm", config.epsilon),
          frozen.linear(path + "self_attn.q_proj"),
          frozen.linear(path + "self_attn.k_proj"),
          frozen.linear(path + "self_attn.v_proj"),
          headNorm(frozen, path + "self_attn.q_norm"),
          headNorm(frozen, path + "self_attn.k_norm"),
          frozen.linear(path + "self_attn.o_proj"),
          frozen.rmsNorm(path + "post_attention_layernorm", config.epsilon),
          frozen.linear(path + "mlp.gate_proj"),
          frozen.linear(path + "mlp.up_proj"),
          frozen.linear(path + "mlp.down_proj"));
    }

    private Optional<Norm> headNorm(FrozenLayers frozen, String path) {
      return config.variant.headNorms
          ? Optional.of(frozen.rmsNorm(path, config.epsilon))
          : Optional.empty();
    }

    @Override
    NDArray read(Pass pass, TokenBatch batch) {
      NDArray x = pass.part(in -> embedded(in, words, batch)); // [batch, seq, hidden]
      Rotary rotary = config.rotary.at(pass.step(), Visibility.positions(pass, batch));
      List<Visibility> visible = config.windows.visible(pass, batch);
      for (int i = 0; i < layers.size(); i++) {
        Layer layer = layers.get(i);
        Visibility seen = visible.get(i);
        x = pass.layer(x, (in, s) -> feedForward(in, layer, attention(in, layer, s, rotary, seen)));
      }
      return pass.norm(norm, x);
    }

    private NDArray attention(
        Pass pass, Layer layer, NDArray x, Rotary rotary, Visibility visible) {
      NDArray normed = pass.norm(layer.attentionNorm, x);
      NDArray q = headwise(pass, layer.queryNorm, pass.linear(layer.query, normed));
      NDArray k = headwise(pass, layer.keyNorm, pass.linear(layer.key, normed));
      NDArray v = pass.linear(layer.value, normed); // [batch, seq, keyHeads * headSize]
      Tuning.KeyValue past = pass.past(layer.key.path(), rotary.apply(k, config.headSize), v);
      NDArray query = rotary.apply(q, config.headSize);
      NDArray heads = attend(visible, query, past);
      heads = pass.tuning().attended(layer.key, layer.value, query, heads);
      NDArray out = pass.linear(layer.output, heads); // [batch, seq, hidden]
      return pass.tuning().residual(layer.output.path(), x, out);
    }

    /** A norm over each head, {@code [batch, seq, heads * headSize]}. */
    private NDArray headwise(Pass pass, Optional<Norm> norm, NDArray x) {
      if (norm.isEmpty()) {
        return x;
      }
      Shape shape = x.getShape();
      NDArray heads = x.reshape(shape.get(0), shape.get(1), -1, config.headSize);
      return pass.norm(norm.get(), heads).reshape(shape);
    }

    private NDArray feedForward(Pass pass, Layer layer, NDArray x) {
      NDArray normed = pass.norm(layer.mlpNorm, x);
      NDArray gate = config.activation.apply(pass.linear(layer.gate, normed));
      NDArray inner = gate.mul(pass.linear(layer.up, normed)); // [batch, seq, intermediate]
      NDArray out = pass.linear(layer.down, inner);
      return pass.tuning().residual(layer.down.path(), x, out);
    }
  }
}
