package org.sparkpeft.core.model;

import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.nn.Activation;

/**
 * T5 (Raffel et al. 2019, arXiv 1910.10683), T5 v1.1 and Flan-T5: an encoder and a decoder that
 * normalise by root mean square before each block, no biases, a learned bias for the distance of
 * two tokens that all layers of a stack share, and scores that are not divided.
 *
 * @param keySize entries of one head
 * @param buckets rows of the table of distances
 * @param farthest distance from which on all share a bucket
 * @param gated whether the feed-forward block is gated, as in v1.1
 * @param scaledOutput whether states are divided by the square root of their size before the output
 *     layer, as where that is the word embedding
 * @param tied whether the word embeddings serve as output layer when the checkpoint has none
 */
record T5Model(
    ModelSizes sizes,
    int encoderLayers,
    int decoderLayers,
    int keySize,
    int inner,
    Activation activation,
    boolean gated,
    int buckets,
    int farthest,
    float epsilon,
    boolean scaledOutput,
    boolean tied)
    implements Architecture {
  private static final String GATED = "gated-";
  static final String BIAS = "layer.0.SelfAttention.relative_attention_bias";

  static T5Model of(ModelConfig config) {
    config.only("is_decoder", List.of(false));
    config.only("is_encoder_decoder", List.of(true));
    config.only("tie_encoder_decoder", List.of(false));
    int encoderLayers = config.count("num_layers");
    int decoderLayers = config.count("num_decoder_layers", encoderLayers);
    String form = config.text("feed_forward_proj", "relu");
    boolean gated = form.startsWith(GATED);
    // "gated-gelu" has always meant the approximation.
    String name = form.equals("gated-gelu") ? "gelu_new" : gated ? form.substring(6) : form;
    Optional<Activation> activation = Activation.named(name);
    if (activation.isEmpty()) {
      throw config.error(
          "feed_forward_proj \""
              + form
              + "\" is not supported; known are "
              + Activation.names()
              + ", also with gated- in front");
    }
    int buckets = config.count("relative_attention_num_buckets", 32);
    int farthest = config.count("relative_attention_max_distance", 128);
    if (buckets % 4 != 0 || farthest <= buckets / 2) {
      throw config.error(
          "relative_attention_num_buckets must be a multiple of 4 and at most twice"
              + " relative_attention_max_distance, got "
              + buckets
              + " and "
              + farthest);
    }
    boolean tied = config.flag("tie_word_embeddings", true);
    return new T5Model(
        new ModelSizes(
            config.count("vocab_size"),
            config.count("d_model"),
            encoderLayers + decoderLayers,
            config.count("num_heads"),
            config.id("pad_token_id", 0),
            config.count("n_positions", 512),
            0.02),
        encoderLayers,
        decoderLayers,
        config.count("d_kv"),
        config.count("d_ff"),
        activation.get(),
        gated,
        buckets,
        farthest,
        (float) config.positive("layer_norm_epsilon", 1e-6),
        tied && config.flag("scale_decoder_outputs", true),
        tied);
  }

  /** Hugging Face's prefix, which no checkpoint of an encoder-decoder has. */
  @Override
  public String prefix() {
    return "transformer";
  }

  @Override
  public boolean isEncoderDecoder() {
    return true;
  }

  @Override
  public ModuleTree modules(HeadConfig head) {
    BartModel.requireGenerates(head);
    List<ModuleSpec> modules = new ArrayList<>();
    List<LayerPaths> layers = new ArrayList<>();
    modules.add(ModuleSpec.embedding("shared", sizes.vocabulary(), sizes.hidden()));
    stack(modules, layers, "encoder.", encoderLayers, false);
    stack(modules, layers, "decoder.", decoderLayers, true);
    modules.addAll(DecoderHead.modules(head, sizes, "shared", tied));
    return new ModuleTree(
        modules,
        new ModuleTree.Structure(
            layers,
            sizes.hidden(),
            sizes.heads(),
            sizes.heads(),
            sizes.heads() * keySize,
            "shared",
            DecoderHead.output(head)));
  }

  private void stack(
      List<ModuleSpec> modules, List<LayerPaths> layers, String path, int count, boolean crosses) {
    int hidden = sizes.hidden();
    modules.add(ModuleSpec.embedding(path + "block.0." + BIAS, buckets, sizes.heads()));
    for (int i = 0; i < count; i++) {
      String block = path + "block." + i + ".layer.";
      attention(modules, block + "0.", "SelfAttention.");
      if (crosses) {
        attention(modules, block + "1.", "EncDecAttention.");
      }
      String last = block + (crosses ? "2." : "1.");
      String dense = last + "DenseReluDense.";
      modules.add(ModuleSpec.rmsNorm(last + "layer_norm", hidden));
      if (gated) {
        modules.add(ModuleSpec.linear(dense + "wi_0", hidden, inner, false));
      }
      String up = dense + (gated ? "wi_1" : "wi");
      modules.add(ModuleSpec.linear(up, hidden, inner, false));
      modules.add(ModuleSpec.linear(dense + "wo", inner, hidden, false));
      layers.add(
          new LayerPaths(
              block + "0.SelfAttention.q",
              block + "0.SelfAttention.k",
              block + "0.SelfAttention.v",
              block + "0.SelfAttention.o",
              block + "0.layer_norm",
              up,
              dense + "wo",
              last + "layer_norm"));
    }
    modules.add(ModuleSpec.rmsNorm(path + "final_layer_norm", hidden));
  }

  private void attention(List<ModuleSpec> modules, String layer, String name) {
    int hidden = sizes.hidden();
    int size = sizes.heads() * keySize;
    modules.add(ModuleSpec.rmsNorm(layer + "layer_norm", hidden));
    for (String projection : List.of("q", "k", "v")) {
      modules.add(ModuleSpec.linear(layer + name + projection, hidden, size, false));
    }
    modules.add(ModuleSpec.linear(layer + name + "o", size, hidden, false));
  }

  @Override
  public Network network(HeadConfig head, FrozenLayers frozen, NDManager manager) {
    return new T5Network(this, head, frozen, manager);
  }
}
