package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
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
 * GPT-NeoX (Black et al. 2022, arXiv 2204.06745) and Pythia (Biderman et al. 2023, arXiv
 * 2304.01373): attention and feed-forward block read the same state and are added together, rotary
 * positions turn a quarter of each head, and one projection holds, head by head, queries, keys and
 * values.
 *
 * @param parallel whether the feed-forward block reads the state before attention, or the one after
 */
record GptNeoxModel(
    ModelSizes sizes,
    int intermediate,
    Activation activation,
    float epsilon,
    boolean attentionBias,
    boolean parallel,
    boolean tied,
    RotaryConfig rotary)
    implements Architecture {
  private static final String OUTPUT = "embed_out";

  static GptNeoxModel of(ModelConfig config) {
    int hidden = config.count("hidden_size");
    int heads = config.count("num_attention_heads");
    config.requireDivides("attention heads", heads, "the hidden size", hidden);
    int positions = config.count("max_position_embeddings");
    return new GptNeoxModel(
        new ModelSizes(
            config.count("vocab_size"),
            hidden,
            config.count("num_hidden_layers"),
            heads,
            config.id("pad_token_id", 0),
            positions,
            config.positive("initializer_range", 0.02)),
        config.count("intermediate_size"),
        config.activation("hidden_act"),
        (float) config.positive("layer_norm_eps", 1e-5),
        config.flag("attention_bias", true),
        config.flag("use_parallel_residual", true),
        config.flag("tie_word_embeddings", false),
        RotaryConfig.partial(config, hidden / heads, positions, 0.25));
  }

  @Override
  public String prefix() {
    return "gpt_neox";
  }

  @Override
  public ModuleTree modules(HeadConfig head) {
    String base = DecoderHead.path(prefix(), head);
    int hidden = sizes.hidden();
    List<ModuleSpec> modules = new ArrayList<>();
    List<LayerPaths> layers = new ArrayList<>();
    modules.add(ModuleSpec.embedding(base + "embed_in", sizes.vocabulary(), hidden));
    for (int i = 0; i < sizes.layers(); i++) {
      String layer = base + "layers." + i + ".";
      String qkv = layer + "attention.query_key_value";
      String dense = layer + "attention.dense";
      String up = layer + "mlp.dense_h_to_4h";
      String down = layer + "mlp.dense_4h_to_h";
      String attentionNorm = layer + "input_layernorm";
      String mlpNorm = layer + "post_attention_layernorm";
      modules.add(ModuleSpec.layerNorm(attentionNorm, hidden));
      modules.add(ModuleSpec.layerNorm(mlpNorm, hidden));
      modules.add(ModuleSpec.linear(qkv, hidden, 3 * hidden, attentionBias));
      modules.add(ModuleSpec.linear(dense, hidden, hidden, attentionBias));
      modules.add(ModuleSpec.linear(up, hidden, intermediate));
      modules.add(ModuleSpec.linear(down, intermediate, hidden));
      layers.add(new LayerPaths(qkv, qkv, qkv, dense, attentionNorm, up, down, mlpNorm));
    }
    modules.add(ModuleSpec.layerNorm(base + "final_layer_norm", hidden));
    modules.addAll(DecoderHead.modules(head, sizes, base + "embed_in", tied, OUTPUT));
    return new ModuleTree(
        modules,
        new ModuleTree.Structure(
            layers,
            hidden,
            sizes.heads(),
            hidden,
            base + "embed_in",
            DecoderHead.output(head, OUTPUT)));
  }

  @Override
  public Network network(HeadConfig head, FrozenLayers frozen, NDManager manager) {
    return new Decoder(this, head, frozen, manager);
  }

  private record Layer(
      Norm attentionNorm, Linear qkv, Linear dense, Norm mlpNorm, Linear up, Linear down) {}

  private static final class Decoder extends DecoderNetwork {
    private final GptNeoxModel config;
    private final int headSize;
    private final Embedding words;
    private final List<Layer> layers = new ArrayList<>();
    private final Norm norm;

    Decoder(GptNeoxModel config, HeadConfig head, FrozenLayers frozen, NDManager manager) {
      super(
          new DecoderHead(head, frozen, OUTPUT),
          AttentionKernel.Form.of(
              config.sizes.heads(), config.sizes.hidden() / config.sizes.heads()),
          manager);
      this.config = config;
      this.headSize = config.sizes.hidden() / config.sizes.heads();
      String base = DecoderHead.path(config.prefix(), head);
      this.words = frozen.embedding(base + "embed_in");
      for (int i = 0; i < config.sizes.layers(); i++) {
        String layer = base + "layers." + i + ".";
        layers.add(
            new Layer(
                frozen.layerNorm(layer + "input_layernorm", config.epsilon),
                frozen.linear(layer + "attention.query_key_value"),
                frozen.linear(layer + "attention.dense"),
                frozen.layerNorm(layer + "post_attention_layernorm", config.epsilon),
                frozen.linear(layer + "mlp.dense_h_to_4h"),
                frozen.linear(layer + "mlp.dense_4h_to_h")));
      }
      this.norm = frozen.layerNorm(base + "final_layer_norm", config.epsilon);
    }

    @Override
    NDArray read(Pass pass, TokenBatch batch) {
      NDArray x = pass.part(in -> embedded(in, words, batch)); // [batch, seq, hidden]
      Rotary rotary = config.rotary.at(pass.step(), Visibility.positions(pass, batch));
      Visibility visible = Visibility.causal(pass, batch, 0);
      for (Layer layer : layers) {
        x = pass.layer(x, (in, stream) -> after(in, layer, stream, rotary, visible));
      }
      return pass.norm(norm, x);
    }

    private NDArray after(Pass pass, Layer layer, NDArray x, Rotary rotary, Visibility visible) {
      NDArray out = attention(pass, layer, x, rotary, visible);
      NDArray attended = pass.tuning().residual(layer.dense.path(), x, out);
      NDArray read = pass.norm(layer.mlpNorm, config.parallel ? x : attended);
      NDArray inner = config.activation.apply(pass.linear(layer.up, read));
      return pass.tuning().residual(layer.down.path(), attended, pass.linear(layer.down, inner));
    }

    private NDArray attention(
        Pass pass, Layer layer, NDArray x, Rotary rotary, Visibility visible) {
      Shape shape = x.getShape();
      NDList heads =
          pass.linear(layer.qkv, pass.norm(layer.attentionNorm, x))
              .reshape(shape.get(0), shape.get(1), config.sizes.heads(), 3L * headSize)
              .split(3, 3); // queries, keys, values [batch, seq, heads, headSize]
      NDArray q = rotary.apply(heads.get(0).reshape(shape), headSize);
      NDArray k = rotary.apply(heads.get(1).reshape(shape), headSize);
      NDArray v = heads.get(2).reshape(shape);
      return pass.linear(layer.dense, attend(visible, q, pass.past(layer.qkv.path(), k, v)));
    }
  }
}
