package org.sparkpeft.core.model;

import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.nn.Activation;
import org.sparkpeft.core.nn.Convolution;

/**
 * Wav2Vec2 (Baevski et al. 2020, arXiv 2006.11477) as its base model is: convolutions turn samples
 * into frames, the first with a norm over time; positions come from a convolution in groups; norms
 * follow the blocks. The norm sees the padding of a batch, as in the reference, so that an
 * example's numbers depend a little on the longest one beside it.
 *
 * @param channels of each convolution over samples
 * @param kernels positions each sees
 * @param strides positions from one window to the next
 * @param placeSize positions that the convolution for positions sees
 * @param placeGroups its groups of channels
 * @param headSize outputs of the head's first layer
 */
record Wav2Vec2Model(
    ModelSizes sizes,
    BlockConfig blocks,
    List<Integer> channels,
    List<Integer> kernels,
    List<Integer> strides,
    boolean convolutionBias,
    Activation convolutionActivation,
    int placeSize,
    int placeGroups,
    int headSize)
    implements Architecture {
  static final String PROJECTOR = "projector";
  static final String CLASSIFIER = "classifier";

  static Wav2Vec2Model of(ModelConfig config) {
    config.only("feat_extract_norm", List.of("group"));
    config.only("do_stable_layer_norm", List.of(false));
    config.only("add_adapter", List.of(false));
    config.only("adapter_attn_dim", List.of());
    config.only("use_weighted_layer_sum", List.of(false));
    int hidden = config.count("hidden_size", 768);
    int heads = config.count("num_attention_heads", 12);
    config.requireDivides("attention heads", heads, "the hidden size", hidden);
    int[] channels = config.counts("conv_dim");
    int[] kernels = config.counts("conv_kernel");
    int[] strides = config.counts("conv_stride");
    if (channels.length != kernels.length || channels.length != strides.length) {
      throw config.error(
          "conv_dim, conv_kernel and conv_stride must have one entry for each convolution, got "
              + channels.length
              + ", "
              + kernels.length
              + " and "
              + strides.length);
    }
    int groups = config.count("num_conv_pos_embedding_groups", 16);
    config.requireDivides("groups of positions", groups, "the hidden size", hidden);
    BlockConfig blocks =
        new BlockConfig(
            config.count("num_hidden_layers", 12),
            hidden,
            heads,
            hidden / heads,
            config.count("intermediate_size", 3072),
            config.activation("hidden_act"),
            (float) config.positive("layer_norm_eps", 1e-5),
            true,
            true,
            false);
    return new Wav2Vec2Model(
        new ModelSizes(
            0,
            hidden,
            blocks.layers(),
            heads,
            0,
            Integer.MAX_VALUE,
            config.positive("initializer_range", 0.02)),
        blocks,
        Arrays.stream(channels).boxed().toList(),
        Arrays.stream(kernels).boxed().toList(),
        Arrays.stream(strides).boxed().toList(),
        config.flag("conv_bias", false),
        config.activation("feat_extract_activation"),
        config.count("num_conv_pos_embeddings", 128),
        groups,
        config.count("classifier_proj_size", 256));
  }

  /** Frames that {@code samples} become; 0 when they are too few. */
  int frames(int samples) {
    int length = samples;
    for (int i = 0; i < channels.size(); i++) {
      length = Convolution.windows(length, kernels.get(i), strides.get(i));
    }
    return length;
  }

  @Override
  public String prefix() {
    return "wav2vec2";
  }

  /** In Hugging Face's class without a head, the modules have no prefix. */
  String path(HeadConfig head) {
    return head.kind() == HeadConfig.Kind.NONE ? "" : prefix() + ".";
  }

  static String convolution(String base, int i) {
    return base + "feature_extractor.conv_layers." + i + ".";
  }

  static String places(String base) {
    return base + "encoder.pos_conv_embed.conv.";
  }

  /** Length of each kernel position's weights, apart from their direction. */
  static String placeLengths(String base) {
    return places(base) + "parametrizations.weight.original0";
  }

  static String placeDirections(String base) {
    return places(base) + "parametrizations.weight.original1";
  }

  @Override
  public InputForm input() {
    return InputForm.SAMPLES;
  }

  @Override
  public ModuleTree modules(HeadConfig head) {
    String base = path(head);
    int hidden = blocks.hidden();
    List<ModuleSpec> modules = new ArrayList<>();
    int in = 1;
    for (int i = 0; i < channels.size(); i++) {
      int out = channels.get(i);
      int size = kernels.get(i);
      modules.add(
          ModuleSpec.linear(
                  convolution(base, i) + "conv", Math.multiplyExact(in, size), out, convolutionBias)
              .storedAs(List.of(out, in, size)));
      if (i == 0) {
        modules.add(ModuleSpec.layerNorm(convolution(base, i) + "layer_norm", out));
      }
      in = out;
    }
    modules.add(ModuleSpec.layerNorm(base + "feature_projection.layer_norm", in));
    modules.add(ModuleSpec.linear(base + "feature_projection.projection", in, hidden));
    modules.add(ModuleSpec.tensor(placeLengths(base), List.of(1, 1, placeSize)));
    modules.add(
        ModuleSpec.tensor(placeDirections(base), List.of(hidden, hidden / placeGroups, placeSize)));
    modules.add(ModuleSpec.tensor(places(base) + "bias", List.of(hidden)));
    modules.add(ModuleSpec.layerNorm(base + "encoder.layer_norm", hidden));
    modules.addAll(TransformerBlocks.modules(blocks, EncoderNames.wav2Vec2(), base));
    modules.addAll(headModules(head));
    return new ModuleTree(
        modules, TransformerBlocks.structure(blocks, EncoderNames.wav2Vec2(), base, ""));
  }

  private List<ModuleSpec> headModules(HeadConfig head) {
    return switch (head.kind()) {
      case NONE -> List.of();
      case SEQUENCE ->
          List.of(
              ModuleSpec.linear(PROJECTOR, blocks.hidden(), headSize)
                  .orElse(ModuleSpec.Origin.FRESH),
              ModuleSpec.linear(CLASSIFIER, headSize, head.outputs())
                  .orElse(ModuleSpec.Origin.FRESH));
      case MEAN ->
          List.of(
              ModuleSpec.linear(CLASSIFIER, blocks.hidden(), head.outputs())
                  .orElse(ModuleSpec.Origin.FRESH));
      case TOKEN, LANGUAGE ->
          throw new ConfigException(
              "model.task", "Wav2Vec2 classifies recordings here; it has no head for frames");
    };
  }

  @Override
  public Network network(HeadConfig head, FrozenLayers frozen, NDManager manager) {
    return new Wav2Vec2Encoder(this, head, frozen, manager);
  }
}
