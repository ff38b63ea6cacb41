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
import org.sparkpeft.core.nn.Rotary;

/**
 * Phi-3 (Abdin et al. 2024, arXiv 2404.14219): Llama's blocks with one projection for queries, keys
 * and values, one for the gate and what it gates, and LongRoPE.
 */
record Phi3Model(
    ModelSizes sizes,
    int keyHeads,
    int headSize,
    int intermediate,
    Activation activation,
    float epsilon,
    boolean tied,
    RotaryConfig rotary,
    LayerWindows windows)
    implements Architecture {

  static Phi3Model of(ModelConfig config) {
    int hidden = config.count("hidden_size");
    int heads = config.count("num_attention_heads");
    int layers = config.count("num_hidden_layers");
    int keyHeads = config.count("num_key_value_heads", heads);
    config.requireDivides("key heads", keyHeads, "the attention heads", heads);
    if (!config.has("head_dim")) {
      config.requireDivides("attention heads", heads, "the hidden size", hidden);
    }
    int headSize = config.count("head_dim", hidden / heads);
    int positions = config.count("max_position_embeddings", 4096);
    return new Phi3Model(
        new ModelSizes(
            config.count("vocab_size"),
            hidden,
            layers,
            heads,
            config.id("pad_token_id", 0),
            positions,
            config.positive("initializer_range", 0.02)),
        keyHeads,
        headSize,
        config.count("intermediate_size"),
        config.activation("hidden_act", "silu"),
        (float) config.positive("rms_norm_eps", 1e-5),
        config.flag("tie_word_embeddings", false),
        RotaryConfig.partial(config, headSize, positions, 1),
        LayerWindows.everywhere(config, layers));
  }

  @Override
  public String prefix() {
    return "model";
  }

  private int querySize() {
    return sizes.heads() * headSize;
  }

  private int keySize() {
    return keyHeads * headSize;
  }

  @Override
  public ModuleTree modules(HeadConfig head) {
    String base = DecoderHead.path(prefix(), head);
    int hidden = sizes.hidden();
    int fused = querySize() + 2 * keySize();
    List<ModuleSpec> modules = new ArrayList<>();
    List<LayerPaths> layers = new ArrayList<>();
    modules.add(ModuleSpec.embedding(base + "embed_tokens", sizes.vocabulary(), hidden));
    for (int i = 0; i < sizes.layers(); i++) {
      String layer = base + "layers." + i + ".";
      String qkv = layer + "self_attn.qkv_proj";
      String output = layer + "self_attn.o_proj";
      String gateUp = layer + "mlp.gate_up_proj";
      String down = layer + "mlp.down_proj";
      String attentionNorm = layer + "input_layernorm";
      String mlpNorm = layer + "post_attention_layernorm";
      modules.add(ModuleSpec.linear(qkv, hidden, fused, false));
      modules.add(ModuleSpec.linear(output, querySize(), hidden, false));
      modules.add(ModuleSpec.linear(gateUp, hidden, 2 * intermediate, false));
      modules.add(ModuleSpec.linear(down, intermediate, hidden, false));
      modules.add(ModuleSpec.rmsNorm(attentionNorm, hidden));
      modules.add(ModuleSpec.rmsNorm(mlpNorm, hidden));
      layers.add(new LayerPaths(qkv, qkv, qkv, output, attentionNorm, gateUp, down, mlpNorm));
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
            keySize(),
            base + "embed_tokens",
            DecoderHead.output(head)));
  }

  @Override
  public Network network(HeadConfig head, FrozenLayers frozen, NDManager manager) {
    return new Decoder(this, head, frozen, manager);
  }

  private record Layer(
      Norm attentionNorm, Linear qkv, Linear output, Norm mlpNorm, Linear gateUp, Linear down) {}

  private static final class Decoder extends DecoderNetwork {
    private final Phi3Model config;
    private final Embedding words;
    private final List<Layer> layers = new ArrayList<>();
    private final Norm norm;

    Decoder(Phi3Model config, HeadConfig head, FrozenLayers frozen, NDManager manager) {
      super(
          new DecoderHead(head, frozen),
          AttentionKernel.Form.of(config.sizes.heads(), config.keyHeads, config.headSize),
          manager);
      this.config = config;
      String base = DecoderHead.path(config.prefix(), head);
      this.words = frozen.embedding(base + "embed_tokens");
      for (int i = 0; i < config.sizes.layers(); i++) {
        String layer = base + "layers." + i + ".";
        layers.add(
            new Layer(
                frozen.rmsNorm(layer + "input_layernorm", config.epsilon),
                frozen.linear(layer + "self_attn.qkv_proj"),
                frozen.linear(layer + "self_attn.o_proj"),
                frozen.rmsNorm(layer + "post_attention_layernorm", config.epsilon),
                frozen.linear(layer + "mlp.gate_up_proj"),
                frozen.linear(layer + "mlp.down_proj")));
      }
      this.norm = frozen.rmsNorm(base + "norm", config.epsilon);
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
      int afterQuery = config.querySize();
      long[] ends = {afterQuery, afterQuery + config.keySize()};
      NDList qkv = pass.linear(layer.qkv, pass.norm(layer.attentionNorm, x)).split(ends, 2);
      NDArray q = rotary.apply(qkv.get(0), config.headSize);
      NDArray k = rotary.apply(qkv.get(1), config.headSize);
      NDArray heads = attend(visible, q, pass.past(layer.qkv.path(), k, qkv.get(2)));
      NDArray out = pass.linear(layer.output, heads); // [batch, seq, hidden]
      return pass.tuning().residual(layer.output.path(), x, out);
    }

    private NDArray feedForward(Pass pass, Layer layer, NDArray x) {
      NDList gateUp = pass.linear(layer.gateUp, pass.norm(layer.mlpNorm, x)).split(2, 2);
      NDArray inner = config.activation.apply(gateUp.get(0)).mul(gateUp.get(1));
      NDArray out = pass.linear(layer.down, inner);
      return pass.tuning().residual(layer.down.path(), x, out);
    }
  }
}
