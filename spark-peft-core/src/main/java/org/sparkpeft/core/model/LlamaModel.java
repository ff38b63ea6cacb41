package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.engine.AttentionKernel;
import org.sparkpeft.core.nn.Activation;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.nn.Norm;
import org.sparkpeft.core.nn.Rotary;

/**
 * Llama (Touvron et al. 2023, arXiv 2302.13971 and 2307.09288): pre-norm by root mean square,
 * rotary positions, gated feed-forward block, key heads shared by several query heads.
 *
 * @param attentionBias whether the four projections of attention have biases
 * @param mlpBias whether the feed-forward layers have biases
 */
record LlamaModel(
    ModelSizes sizes,
    int keyHeads,
    int headSize,
    int intermediate,
    Activation activation,
    float epsilon,
    boolean attentionBias,
    boolean mlpBias,
    boolean tied,
    RotaryConfig rotary)
    implements Architecture {

  static LlamaModel of(ModelConfig config) {
    int hidden = config.count("hidden_size");
    int heads = config.count("num_attention_heads");
    int keyHeads = config.count("num_key_value_heads", heads);
    config.requireDivides("key heads", keyHeads, "the attention heads", heads);
    if (!config.has("head_dim")) {
      config.requireDivides("attention heads", heads, "the hidden size", hidden);
    }
    int headSize = config.count("head_dim", hidden / heads);
    int positions = config.count("max_position_embeddings", 2048);
    config.only("pretraining_tp", List.of(1));
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
        config.flag("attention_bias", false),
        config.flag("mlp_bias", false),
        config.flag("tie_word_embeddings", false),
        RotaryConfig.of(config, headSize, positions));
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
      modules.add(ModuleSpec.linear(attention + "q_proj", hidden, queries, attentionBias));
      modules.add(ModuleSpec.linear(attention + "k_proj", hidden, keys, attentionBias));
      modules.add(ModuleSpec.linear(attention + "v_proj", hidden, keys, attentionBias));
      modules.add(ModuleSpec.linear(attention + "o_proj", queries, hidden, attentionBias));
      modules.add(ModuleSpec.linear(mlp + "gate_proj", hidden, intermediate, mlpBias));
      modules.add(ModuleSpec.linear(mlp + "up_proj", hidden, intermediate, mlpBias));
      modules.add(ModuleSpec.linear(mlp + "down_proj", intermediate, hidden, mlpBias));
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
            layers, hidden, sizes.heads(), keys, base + "embed_tokens", DecoderHead.output(head)));
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
      Linear output,
      Norm mlpNorm,
      Linear gate,
      Linear up,
      Linear down) {}

  private static final class Decoder implements Network {
    private final LlamaModel config;
    private final DecoderHead head;
    private final AttentionKernel attention;
    private final Embedding words;
    private final List<Layer> layers = new ArrayList<>();
    private final Norm norm;

    Decoder(LlamaModel config, HeadConfig head, FrozenLayers frozen, NDManager manager) {
      this.config = config;
      this.head = new DecoderHead(head, frozen);
      this.attention =
          new AttentionKernel(
              manager,
              AttentionKernel.Form.of(config.sizes.heads(), config.keyHeads, config.headSize));
      String base = DecoderHead.path(config.prefix(), head);
      this.words = frozen.embedding(base + "embed_tokens");
      for (int i = 0; i < config.sizes.layers(); i++) {
        String layer = base + "layers." + i + ".";
        layers.add(
            new Layer(
                frozen.rmsNorm(layer + "input_layernorm", config.epsilon),
                frozen.linear(layer + "self_attn.q_proj"),
                frozen.linear(layer + "self_attn.k_proj"),
                frozen.linear(layer + "self_attn.v_proj"),
                frozen.linear(layer + "self_attn.o_proj"),
                frozen.rmsNorm(layer + "post_attention_layernorm", config.epsilon),
                frozen.linear(layer + "mlp.gate_proj"),
                frozen.linear(layer + "mlp.up_proj"),
                frozen.linear(layer + "mlp.down_proj")));
      }
      this.norm = frozen.rmsNorm(base + "norm", config.epsilon);
    }

    @Override
    public NDArray hidden(Pass pass, ModelInput input) {
      TokenBatch batch = Network.tokens(input);
      NDArray ids = pass.step().create(batch.flatIds(), new Shape(batch.size(), batch.width()));
      NDArray x = pass.embedded(words, ids); // [batch, seq, hidden]
      Rotary rotary = config.rotary.at(pass.step(), Visibility.positions(pass, batch));
      Visibility visible = Visibility.causal(pass, batch, 0);
      for (Layer layer : layers) {
        x = feedForward(pass, layer, attend(pass, layer, x, rotary, visible));
      }
      pass.cache().advance(pass.virtualTokens() + batch.width() + pass.prefixLength());
      return pass.norm(norm, x);
    }

    private NDArray attend(Pass pass, Layer layer, NDArray x, Rotary rotary, Visibility visible) {
      NDArray normed = pass.norm(layer.attentionNorm, x);
      NDArray q = rotary.apply(pass.linear(layer.query, normed), config.headSize);
      NDArray k = rotary.apply(pass.linear(layer.key, normed), config.headSize);
      NDArray v = pass.linear(layer.value, normed);
      NDArray heads = visible.attend(attention, q, pass.past(layer.key.path(), k, v));
      NDArray out = pass.linear(layer.output, heads); // [batch, seq, hidden]
      return pass.tuning().residual(layer.output.path(), x, out);
    }

    private NDArray feedForward(Pass pass, Layer layer, NDArray x) {
      NDArray normed = pass.norm(layer.mlpNorm, x);
      NDArray gate = config.activation.apply(pass.linear(layer.gate, normed));
      NDArray inner = gate.mul(pass.linear(layer.up, normed)); // [batch, seq, intermediate]
      NDArray out = pass.linear(layer.down, inner);
      return pass.tuning().residual(layer.down.path(), x, out);
    }

    @Override
    public NDArray features(Pass pass, NDArray hidden, ModelInput input) {
      return head.features(pass, hidden, Network.tokens(input));
    }

    @Override
    public NDArray logits(NDArray features, Tuning tuning) {
      return head.logits(features, tuning);
    }

    @Override
    public void close() {
      attention.close();
    }
  }
}
