package org.sparkpeft.core.model;

import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.error.ConfigException;

/**
 * Whisper (Radford et al. 2022, arXiv 2212.04356): two convolutions over a log-mel spectrogram, an
 * encoder with fixed sinusoids as positions, a decoder with learned ones; pre-norm, keys without
 * bias. With a head for sequences it is {@code WhisperForAudioClassification}, the encoder alone.
 *
 * @param frames states of the encoder; it hears twice as many frames
 */
record WhisperModel(
    ModelSizes sizes,
    BlockConfig encoder,
    BlockConfig decoder,
    int melBins,
    int frames,
    boolean tied,
    int headSize)
    implements Architecture {
  static final String PROJECTOR = "projector";
  static final String CLASSIFIER = "classifier";

  /** The layer over the vocabulary. */
  static final String OUTPUT = "proj_out";

  /** Positions a convolution sees; a zero is added at both ends. */
  static final int KERNEL = 3;

  static WhisperModel of(ModelConfig config) {
    config.only("scale_embedding", List.of(false));
    config.only("use_weighted_layer_sum", List.of(false));
    int hidden = config.count("d_model");
    BlockConfig encoder = blocks(config, "encoder", hidden);
    BlockConfig decoder = blocks(config, "decoder", hidden);
    if (hidden < 4 || hidden % 2 != 0) {
      throw config.error("d_model must be even and at least 4, got " + hidden);
    }
    return new WhisperModel(
        new ModelSizes(
            config.count("vocab_size"),
            hidden,
            Math.addExact(encoder.layers(), decoder.layers()),
            decoder.heads(),
            config.id("pad_token_id", 50256),
            config.count("max_target_positions", 448),
            config.positive("init_std", 0.02)),
        encoder,
        decoder,
        config.count("num_mel_bins", 80),
        config.count("max_source_positions", 1500),
        config.flag("tie_word_embeddings", true),
        config.count("classifier_proj_size", 256));
  }

  private static BlockConfig blocks(ModelConfig config, String part, int hidden) {
    int heads = config.count(part + "_attention_heads");
    config.requireDivides("attention heads", heads, "the hidden size", hidden);
    return new BlockConfig(
        config.count(part + "_layers"),
        hidden,
        heads,
        hidden / heads,
        config.count(part + "_ffn_dim"),
        config.activation("activation_function"),
        1e-5f, // PyTorch's own
        true,
        false,
        true);
  }

  @Override
  public String prefix() {
    return "model";
  }

  /** Whether only the encoder is used. */
  static boolean encoderAlone(HeadConfig head) {
    return head.kind() == HeadConfig.Kind.SEQUENCE || head.kind() == HeadConfig.Kind.MEAN;
  }

  /** Only the class with a head over words has a prefix. */
  String path(HeadConfig head) {
    return head.kind() == HeadConfig.Kind.LANGUAGE ? prefix() + "." : "";
  }

  static String crossAttention(String base, int layer) {
    return base + "decoder.layers." + layer + ".encoder_attn";
  }

  @Override
  public InputForm input() {
    return InputForm.frames(Math.multiplyExact(2, frames), melBins);
  }

  @Override
  public ModuleTree modules(HeadConfig head) {
    String base = path(head);
    int hidden = sizes.hidden();
    List<ModuleSpec> modules = new ArrayList<>();
    modules.add(convolution(base + "encoder.conv1", melBins));
    modules.add(convolution(base + "encoder.conv2", hidden));
    modules.addAll(TransformerBlocks.modules(encoder, EncoderNames.whisper(), base + "encoder."));
    modules.add(ModuleSpec.layerNorm(base + "encoder.layer_norm", hidden));
    List<LayerPaths> layers =
        new ArrayList<>(
            TransformerBlocks.paths(encoder, EncoderNames.whisper(), base + "encoder."));
    if (!encoderAlone(head)) {
      modules.addAll(decoderModules(base));
      layers.addAll(TransformerBlocks.paths(decoder, EncoderNames.whisper(), base + "decoder."));
    }
    modules.addAll(headModules(head, base));
    String output = head.kind() == HeadConfig.Kind.LANGUAGE ? OUTPUT : "";
    String words = encoderAlone(head) ? "" : base + "decoder.embed_tokens";
    return new ModuleTree(
        modules, new ModuleTree.Structure(layers, hidden, sizes.heads(), hidden, words, output));
  }

  private ModuleSpec convolution(String path, int in) {
    int hidden = sizes.hidden();
    return ModuleSpec.linear(path, Math.multiplyExact(in, KERNEL), hidden)
        .storedAs(List.of(hidden, in, KERNEL));
  }

  private List<ModuleSpec> decoderModules(String base) {
    int hidden = sizes.hidden();
    List<ModuleSpec> modules = new ArrayList<>();
    modules.add(ModuleSpec.embedding(base + "decoder.embed_tokens", sizes.vocabulary(), hidden));
    modules.add(ModuleSpec.embedding(base + "decoder.embed_positions", sizes.maxTokens(), hidden));
    modules.addAll(TransformerBlocks.modules(decoder, EncoderNames.whisper(), base + "decoder."));
    for (int i = 0; i < decoder.layers(); i++) {
      String cross = crossAttention(base, i);
      modules.add(ModuleSpec.linear(cross + ".q_proj", hidden, hidden));
      modules.add(ModuleSpec.linear(cross + ".k_proj", hidden, hidden, false));
      modules.add(ModuleSpec.linear(cross + ".v_proj", hidden, hidden));
      modules.add(ModuleSpec.linear(cross + ".out_proj", hidden, hidden));
      modules.add(ModuleSpec.layerNorm(cross + "_layer_norm", hidden));
    }
    modules.add(ModuleSpec.layerNorm(base + "decoder.layer_norm", hidden));
    return modules;
  }

  private List<ModuleSpec> headModules(HeadConfig head, String base) {
    int hidden = sizes.hidden();
    return switch (head.kind()) {
      case NONE -> List.of();
      case LANGUAGE -> {
        ModuleSpec layer = ModuleSpec.linear(OUTPUT, hidden, sizes.vocabulary(), false);
        yield List.of(tied ? layer.tiedTo(base + "decoder.embed_tokens") : layer);
      }
      case SEQUENCE ->
          List.of(
              ModuleSpec.linear(PROJECTOR, hidden, headSize).orElse(ModuleSpec.Origin.FRESH),
              ModuleSpec.linear(CLASSIFIER, headSize, head.outputs())
                  .orElse(ModuleSpec.Origin.FRESH));
      case MEAN ->
          List.of(
              ModuleSpec.linear(CLASSIFIER, hidden, head.outputs())
                  .orElse(ModuleSpec.Origin.FRESH));
      case TOKEN -> throw new ConfigException("model.task", "Whisper has no head for each token");
    };
  }

  @Override
  public Network network(HeadConfig head, FrozenLayers frozen, NDManager manager) {
    return new WhisperNetwork(this, head, frozen, manager);
  }
}
