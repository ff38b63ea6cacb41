package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.engine.AttentionKernel;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.nn.Activation;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.nn.Norm;
import org.sparkpeft.core.nn.Rotary;

/**
 * Gemma 2 (Gemma Team 2024, arXiv 2408.00118): Llama's blocks with norms before and after each,
 * whose weights count from one, word embeddings times the square root of their size, every other
 * layer with a sliding window, and scores and outputs that a tanh keeps within a cap. Attention is
 * Hugging Face's eager one; its fused attention leaves the cap of the scores out.
 *
 * @param scale factor of the attention scores
 * @param scoreCap largest attention score; 0 for none
 * @param outputCap largest output over the vocabulary; 0 for none
 */
record Gemma2Model(
    ModelSizes sizes,
    int keyHeads,
    int headSize,
    int intermediate,
    Activation activation,
    float epsilon,
    boolean bias,
    boolean tied,
    double scale,
    double scoreCap,
    double outputCap,
    RotaryConfig rotary,
    LayerWindows windows)
    implements Architecture {

  static Gemma2Model of(ModelConfig config) {
    int heads = config.count("num_attention_heads");
    int layers = config.count("num_hidden_layers");
    int keyHeads = config.count("num_key_value_heads", 4);
    config.requireDivides("key heads", keyHeads, "the attention heads", heads);
    config.only("use_bidirectional_attention", List.of(false));
    int headSize = config.count("head_dim", 256);
    int positions = config.count("max_position_embeddings", 8192);
    int window = config.count("sliding_window", 4096);
    return new Gemma2Model(
        new ModelSizes(
            config.count("vocab_size"),
            config.count("hidden_size"),
            layers,
            heads,
            config.id("pad_token_id", 0),
            positions,
            config.positive("initializer_range", 0.02)),
        keyHeads,
        headSize,
        config.count("intermediate_size"),
        config.activation("hidden_activation", "gelu_pytorch_tanh"),
        (float) config.positive("rms_norm_eps", 1e-6),
        config.flag("attention_bias", false),
        config.flag("tie_word_embeddings", true),
        1 / Math.sqrt(config.positive("query_pre_attn_scalar", 256)),
        config.positiveOrNone("attn_logit_softcapping", 50),
        config.positiveOrNone("final_logit_softcapping", 30),
        RotaryConfig.of(config, headSize, positions),
        LayerWindows.of(config, layers, window, i -> i % 2 == 0));
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
      modules.add(ModuleSpec.linear(attention + "q_proj", hidden, queries, bias));
      modules.add(ModuleSpec.linear(attention + "k_proj", hidden, keys, bias));
      modules.add(ModuleSpec.linear(attention + "v_proj", hidden, keys, bias));
      modules.add(ModuleSpec.linear(attention + "o_proj", queries, hidden, bias));
      modules.add(ModuleSpec.linear(mlp + "gate_proj", hidden, intermediate, false));
      modules.add(ModuleSpec.linear(mlp + "up_proj", hidden, intermediate, false));
      modules.add(ModuleSpec.linear(mlp + "down_proj", intermediate, hidden, false));
      modules.add(ModuleSpec.rmsNorm(layer + "input_layernorm", hidden));
      modules.add(ModuleSpec.rmsNorm(layer + "post_attention_layernorm", hidden));
      modules.add(ModuleSpec.rmsNorm(layer + "pre_feedforward_layernorm", hidden));
      modules.add(ModuleSpec.rmsNorm(layer + "post_feedforward_layernorm", hidden));
      layers.add(
          new LayerPaths(
              attention + "q_proj",
              attention + "k_proj",
              attention + "v_proj",
              attention + "o_proj",
              layer + "input_layernorm",
              mlp + "up_proj",
              mlp + "down_proj",
              layer + "pre_feedforward_layernorm"));
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

  private AttentionKernel.Form form() {
    return new AttentionKernel.Form(sizes.heads(), keyHeads, headSize, scale, scoreCap);
  }

  private record Layer(
      Norm attentionNorm,
      Linear query,
      Linear key,
      Linear value,
      Linear output,
      Norm attendedNorm,
      Norm mlpNorm,
      Linear gate,
      Linear up,
      Linear down,
      Norm outputNorm) {}

  private static final class Decoder extends DecoderNetwork {
    private final Gemma2Model config;
    private final boolean language;
    private final Embedding words;
    private final List<Layer> layers = new ArrayList<>();
    private final Norm norm;

    Decoder(Gemma2Model config, HeadConfig head, FrozenLayers frozen, NDManager manager) {
      super(new DecoderHead(head, frozen), config.form(), manager);
      this.config = config;
      this.language = head.kind() == HeadConfig.Kind.LANGUAGE;
      String base = DecoderHead.path(config.prefix(), head);
      this.words = frozen.embedding(base + "embed_tokens");
      for (int i = 0; i < config.sizes.layers(); i++) {
        String layer = base + "layers." + i + ".";
        layers.add(
            new Layer(
                norm(frozen, layer + "input_layernorm"),
                frozen.linear(layer + "self_attn.q_proj"),
                frozen.linear(layer + "self_attn.k_proj"),
                frozen.linear(layer + "self_attn.v_proj"),
                frozen.linear(layer + "self_attn.o_proj"),
                norm(frozen, layer + "post_attention_layernorm"),
                norm(frozen, layer + "pre_feedforward_layernorm"),
                frozen.linear(layer + "mlp.gate_proj"),
                frozen.linear(layer + "mlp.up_proj"),
                frozen.linear(layer + "mlp.down_proj"),
                norm(frozen, layer + "post_feedforward_layernorm")));
      }
      this.norm = norm(frozen, base + "norm");
    }

    private Norm norm(FrozenLayers frozen, String path) {
      return frozen.rmsNorm(path, config.epsilon, 1);
    }

    @Override
    NDArray read(Pass pass, TokenBatch batch) {
      float scale = (float) Math.sqrt(config.sizes.hidden());
      NDArray x = pass.part(in -> Scalars.times(embedded(in, words, batch), scale));
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
      NDArray q = rotary.apply(pass.linear(layer.query, normed), config.headSize);
      NDArray k = rotary.apply(pass.linear(layer.key, normed), config.headSize);
      NDArray v = pass.linear(layer.value, normed);
      NDArray heads = attend(visible, q, pass.past(layer.key.path(), k, v));
      heads = pass.tuning().attended(layer.key, layer.value, q, heads);
      NDArray out = pass.norm(layer.attendedNorm, pass.linear(layer.output, heads));
      return pass.tuning().residual(layer.output.path(), x, out);
    }

    private NDArray feedForward(Pass pass, Layer layer, NDArray x) {
      NDArray normed = pass.norm(layer.mlpNorm, x);
      NDArray gate = config.activation.apply(pass.linear(layer.gate, normed));
      NDArray inner = gate.mul(pass.linear(layer.up, normed)); // [batch, seq, intermediate]
      NDArray out = pass.norm(layer.outputNorm, pass.linear(layer.down, inner));
      return pass.tuning().residual(layer.down.path(), x, out);
    }

    @Override
    public NDArray logits(NDArray features, Tuning tuning) {
      NDArray logits = super.logits(features, tuning);
      if (!language || config.outputCap == 0) {
        return logits;
      }
      float cap = (float) config.outputCap;
      return Scalars.times(Scalars.times(logits, 1 / cap).tanh(), cap);
    }
  }
}
