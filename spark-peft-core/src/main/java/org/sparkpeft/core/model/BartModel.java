package org.sparkpeft.core.model;

import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.nn.Activation;

/**
 * BART (Lewis et al. 2019, arXiv 1910.13461): an encoder and a decoder that normalise after each
 * block, learned positions with two rows in front, one embedding for both and for the output.
 *
 * @param scaled whether word embeddings are multiplied by the square root of their size
 */
record BartModel(
    ModelSizes sizes,
    int encoderLayers,
    int decoderLayers,
    int encoderInner,
    int decoderInner,
    Activation activation,
    boolean scaled)
    implements Architecture {
  /** Rows of the position tables in front of position 0. */
  static final int POSITION_OFFSET = 2;

  /** Added to the logits; a buffer of zeros where the checkpoint has none. */
  static final String LOGITS_BIAS = "final_logits_bias";

  static BartModel of(ModelConfig config) {
    int hidden = config.count("d_model");
    int heads = config.count("encoder_attention_heads");
    config.requireDivides("attention heads", heads, "the hidden size", hidden);
    config.only("decoder_attention_heads", List.of(heads));
    config.only("tie_word_embeddings", List.of(true));
    config.only("is_decoder", List.of(false));
    config.only("is_encoder_decoder", List.of(true));
    config.only("tie_encoder_decoder", List.of(false));
    // Settings of relatives, which checkpoints carry along.
    config.only("normalize_before", List.of(false));
    config.only("normalize_embedding", List.of(true));
    config.only("add_final_layer_norm", List.of(false));
    config.only("static_position_embeddings", List.of(false));
    config.only("add_bias_logits", List.of(false));
    config.only("extra_pos_embeddings", List.of(POSITION_OFFSET));
    int encoderLayers = config.count("encoder_layers");
    int decoderLayers = config.count("decoder_layers");
    return new BartModel(
        new ModelSizes(
            config.count("vocab_size"),
            hidden,
            encoderLayers + decoderLayers,
            heads,
            config.id("pad_token_id", 1),
            config.count("max_position_embeddings", 1024),
            config.positive("init_std", 0.02)),
        encoderLayers,
        decoderLayers,
        config.count("encoder_ffn_dim"),
        config.count("decoder_ffn_dim"),
        config.activation("activation_function"),
        config.flag("scale_embedding", false));
  }

  @Override
  public String prefix() {
    return "model";
  }

  @Override
  public boolean isEncoderDecoder() {
    return true;
  }

  @Override
  public List<ModuleSpec> buffers(HeadConfig head) {
    return head.kind() == HeadConfig.Kind.LANGUAGE
        ? List.of(
            ModuleSpec.tensor(LOGITS_BIAS, List.of(1, sizes.vocabulary()))
                .orElse(ModuleSpec.Origin.IDENTITY))
        : List.of();
  }

  @Override
  public ModuleTree modules(HeadConfig head) {
    requireGenerates(head);
    String base = DecoderHead.path(prefix(), head);
    List<ModuleSpec> modules = new ArrayList<>();
    List<LayerPaths> layers = new ArrayList<>();
    modules.add(ModuleSpec.embedding(base + "shared", sizes.vocabulary(), sizes.hidden()));
    stack(modules, layers, base + "encoder.", encoderLayers, encoderInner, false);
    stack(modules, layers, base + "decoder.", decoderLayers, decoderInner, true);
    modules.addAll(DecoderHead.modules(head, sizes, base + "shared", true));
    return new ModuleTree(
        modules,
        new ModuleTree.Structure(
            layers,
            sizes.hidden(),
            sizes.heads(),
            sizes.hidden(),
            base + "shared",
            DecoderHead.output(head)));
  }

  /**
   * @throws ConfigException if the head is one that an encoder-decoder does not have here
   */
  static void requireGenerates(HeadConfig head) {
    if (head.kind() != HeadConfig.Kind.NONE && head.kind() != HeadConfig.Kind.LANGUAGE) {
      throw new ConfigException(
          "model.task",
          "an encoder-decoder is used without a head or to generate text; classification and"
              + " regression are not supported");
    }
  }

  private void stack(
      List<ModuleSpec> modules,
      List<LayerPaths> layers,
      String path,
      int count,
      int inner,
      boolean crosses) {
    int hidden = sizes.hidden();
    modules.add(
        ModuleSpec.embedding(
            path + "embed_positions", sizes.maxTokens() + POSITION_OFFSET, hidden));
    modules.add(ModuleSpec.layerNorm(path + "layernorm_embedding", hidden));
    for (int i = 0; i < count; i++) {
      String layer = path + "layers." + i + ".";
      attention(modules, layer + "self_attn");
      if (crosses) {
        attention(modules, layer + "encoder_attn");
      }
      modules.add(ModuleSpec.linear(layer + "fc1", hidden, inner));
      modules.add(ModuleSpec.linear(layer + "fc2", inner, hidden));
      modules.add(ModuleSpec.layerNorm(layer + "final_layer_norm", hidden));
      layers.add(
          new LayerPaths(
              layer + "self_attn.q_proj",
              layer + "self_attn.k_proj",
              layer + "self_attn.v_proj",
              layer + "self_attn.out_proj",
              layer + "self_attn_layer_norm",
              layer + "fc1",
              layer + "fc2",
              layer + "final_layer_norm"));
    }
  }

  private void attention(List<ModuleSpec> modules, String path) {
    int hidden = sizes.hidden();
    for (String projection : List.of("q_proj", "k_proj", "v_proj", "out_proj")) {
      modules.add(ModuleSpec.linear(path + "." + projection, hidden, hidden));
    }
    modules.add(ModuleSpec.layerNorm(path + "_layer_norm", hidden));
  }

  @Override
  public Network network(HeadConfig head, FrozenLayers frozen, NDManager manager) {
    return new BartNetwork(this, head, frozen, manager);
  }
}
