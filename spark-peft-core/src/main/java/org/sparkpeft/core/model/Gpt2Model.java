package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.engine.AttentionKernel;
import org.sparkpeft.core.nn.Activation;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.nn.Norm;

/**
 * GPT-2 (Radford et al. 2019): pre-norm, learned positions, one projection for queries, keys and
 * values. Its checkpoints hold linear layers as {@code [in, out]}.
 */
record Gpt2Model(
    ModelSizes sizes, int inner, Activation activation, float epsilon, double scale, boolean tied)
    implements Architecture {

  static Gpt2Model of(ModelConfig config) {
    int hidden = config.count("n_embd");
    int heads = config.count("n_head");
    config.requireDivides("attention heads", heads, "the hidden size", hidden);
    config.only("add_cross_attention", List.of(false));
    config.only("scale_attn_by_inverse_layer_idx", List.of(false));
    config.only("reorder_and_upcast_attn", List.of(false));
    boolean scaled = config.flag("scale_attn_weights", true);
    return new Gpt2Model(
        new ModelSizes(
            config.count("vocab_size"),
            hidden,
            config.count("n_layer"),
            heads,
            config.id("pad_token_id", 0),
            config.count("n_positions"),
            config.positive("initializer_range", 0.02)),
        config.count("n_inner", 4 * hidden),
        config.activation("activation_function", "gelu_new"),
        (float) config.positive("layer_norm_epsilon", 1e-5),
        scaled ? 1 / Math.sqrt((double) hidden / heads) : 1,
        config.flag("tie_word_embeddings", true));
  }

  @Override
  public String prefix() {
    return "transformer";
  }

  @Override
  public ModuleTree modules(HeadConfig head) {
    String base = DecoderHead.path(prefix(), head);
    int hidden = sizes.hidden();
    List<ModuleSpec> modules = new ArrayList<>();
    List<LayerPaths> layers = new ArrayList<>();
    modules.add(ModuleSpec.embedding(base + "wte", sizes.vocabulary(), hidden));
    modules.add(ModuleSpec.embedding(base + "wpe", sizes.maxTokens(), hidden));
    for (int i = 0; i < sizes.layers(); i++) {
      String layer = base + "h." + i + ".";
      modules.add(ModuleSpec.layerNorm(layer + "ln_1", hidden));
      modules.add(ModuleSpec.linear(layer + "attn.c_attn", hidden, 3 * hidden).transposed());
      modules.add(ModuleSpec.linear(layer + "attn.c_proj", hidden, hidden).transposed());
      modules.add(ModuleSpec.layerNorm(layer + "ln_2", hidden));
      modules.add(ModuleSpec.linear(layer + "mlp.c_fc", hidden, inner).transposed());
      modules.add(ModuleSpec.linear(layer + "mlp.c_proj", inner, hidden).transposed());
      layers.add(
          new LayerPaths(
              layer + "attn.c_attn",
              layer + "attn.c_attn",
              layer + "attn.c_attn",
              layer + "attn.c_proj",
              layer + "ln_1",
              layer + "mlp.c_fc",
              layer + "mlp.c_proj",
              layer + "ln_2"));
    }
    modules.add(ModuleSpec.layerNorm(base + "ln_f", hidden));
    modules.addAll(DecoderHead.modules(head, sizes, base + "wte", tied));
    return new ModuleTree(
        modules,
        new ModuleTree.Structure(
            layers, hidden, sizes.heads(), hidden, base + "wte", DecoderHead.output(head)));
  }

  @Override
  public Network network(HeadConfig head, FrozenLayers frozen, NDManager manager) {
    return new Decoder(this, head, frozen, manager);
  }

  private AttentionKernel.Form form() {
    int heads = sizes.heads();
    return new AttentionKernel.Form(heads, heads, sizes.hidden() / heads, scale, 0);
  }

  private record Layer(
      Norm attentionNorm, Linear qkv, Linear output, Norm mlpNorm, Linear up, Linear down) {}

  private static final class Decoder extends DecoderNetwork {
    private final Gpt2Model config;
    private final Embedding words;
    private final Embedding places;
    private final List<Layer> layers = new ArrayList<>();
    private final Norm norm;

    Decoder(Gpt2Model config, HeadConfig head, FrozenLayers frozen, NDManager manager) {
      super(new DecoderHead(head, frozen), config.form(), manager);
      this.config = config;
      String base = DecoderHead.path(config.prefix(), head);
      this.words = frozen.embedding(base + "wte");
      this.places = frozen.embedding(base + "wpe");
      for (int i = 0; i < config.sizes.layers(); i++) {
        String layer = base + "h." + i + ".";
        layers.add(
            new Layer(
                frozen.layerNorm(layer + "ln_1", config.epsilon),
                frozen.linear(layer + "attn.c_attn"),
                frozen.linear(layer + "attn.c_proj"),
                frozen.layerNorm(layer + "ln_2", config.epsilon),
                frozen.linear(layer + "mlp.c_fc"),
                frozen.linear(layer + "mlp.c_proj")));
      }
      this.norm = frozen.layerNorm(base + "ln_f", config.epsilon);
    }

    @Override
    NDArray read(Pass pass, TokenBatch batch) {
      NDArray x = pass.part(in -> embedded(in, batch)); // [batch, seq, hidden]
      Visibility visible = Visibility.causal(pass, batch, 0);
      for (Layer layer : layers) {
        x = pass.layer(x, (in, stream) -> after(in, layer, stream, visible));
      }
      return pass.norm(norm, x);
    }

    private NDArray embedded(Pass pass, TokenBatch batch) {
      NDArray at = pass.step().create(Visibility.positions(pass, batch));
      return embedded(pass, words, batch).add(pass.embedding(places, at));
    }

    private NDArray after(Pass pass, Layer layer, NDArray x, Visibility visible) {
      NDArray heads = attention(pass, layer, pass.norm(layer.attentionNorm, x), visible);
      NDArray attended = pass.tuning().residual(layer.output.path(), x, heads);
      NDArray inner = pass.linear(layer.up, pass.norm(layer.mlpNorm, attended));
      NDArray outer = pass.linear(layer.down, config.activation.apply(inner));
      return pass.tuning().residual(layer.down.path(), attended, outer);
    }

    private NDArray attention(Pass pass, Layer layer, NDArray x, Visibility visible) {
      NDList parts = pass.linear(layer.qkv, x).split(3, 2);
      Tuning.KeyValue past = pass.past(layer.qkv.path(), parts.get(1), parts.get(2));
      return pass.linear(layer.output, attend(visible, parts.get(0), past));
    }
  }
}
