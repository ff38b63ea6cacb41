package org.sparkpeft.core.model;

import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.nn.Activation;

/**
 * Swin Transformer (Liu et al. 2021, arXiv 2103.14030): attention within windows, whose grid moves
 * by half a window from block to block; after each stage but the last, each square of four tokens
 * becomes one of twice the size.
 *
 * <p>Its layers have several sizes, so its structure lists none: methods that act on layers by
 * their path work, those that need one size for all refuse it.
 *
 * @param sizes of the last stage
 * @param patches how an image is cut
 * @param depths blocks of each stage
 * @param heads attention heads of each stage
 */
record SwinModel(
    ModelSizes sizes,
    Patches patches,
    List<Integer> depths,
    List<Integer> heads,
    int embedding,
    int window,
    double mlpRatio,
    boolean qkvBias,
    Activation activation,
    float epsilon)
    implements Architecture {
  static final String CLASSIFIER = "classifier";

  static SwinModel of(ModelConfig config) {
    config.only("use_absolute_embeddings", List.of(false));
    int[] image = config.heightAndWidth("image_size", 224);
    int size = config.count("patch_size", 4);
    config.requireDivides("pixels of a patch", size, "the image height", image[0]);
    config.requireDivides("pixels of a patch", size, "the image width", image[1]);
    Patches patches = Patches.tiles(config.count("num_channels", 3), image[0], image[1], size);
    int[] depths = config.counts("depths");
    int[] heads = config.counts("num_heads");
    if (depths.length != heads.length || depths.length > 16) {
      throw config.error(
          "depths and num_heads must list the same 1 to 16 stages, got "
              + depths.length
              + " and "
              + heads.length);
    }
    int embedding = config.count("embed_dim");
    int window = config.count("window_size", 7);
    SwinModel model =
        new SwinModel(
            new ModelSizes(
                0,
                Math.multiplyExact(embedding, 1 << (depths.length - 1)),
                Arrays.stream(depths).sum(),
                heads[heads.length - 1],
                0,
                patches.count(),
                config.positive("initializer_range", 0.02)),
            patches,
            Arrays.stream(depths).boxed().toList(),
            Arrays.stream(heads).boxed().toList(),
            embedding,
            window,
            config.positive("mlp_ratio", 4),
            config.flag("qkv_bias", true),
            config.activation("hidden_act"),
            (float) config.positive("layer_norm_eps", 1e-5));
    for (int stage = 0; stage < depths.length; stage++) {
      config.requireDivides("attention heads", heads[stage], "the size", model.hidden(stage));
      if (Math.min(model.height(stage), model.width(stage)) < window) {
        throw config.error(
            "window_size %d does not fit into the %d x %d tokens of stage %d"
                .formatted(window, model.height(stage), model.width(stage), stage));
      }
    }
    return model;
  }

  int stages() {
    return depths.size();
  }

  int hidden(int stage) {
    return embedding << stage;
  }

  int intermediate(int stage) {
    return (int) (mlpRatio * hidden(stage));
  }

  /** Tokens of a stage from top to bottom; an odd row is paired with zeros. */
  int height(int stage) {
    return halved(patches.down(), stage);
  }

  /** Tokens of a stage from left to right. */
  int width(int stage) {
    return halved(patches.right(), stage);
  }

  private static int halved(int length, int times) {
    int half = length;
    for (int i = 0; i < times; i++) {
      half = (half + 1) / 2;
    }
    return half;
  }

  /** The windows of a block. */
  SwinWindows windows(int stage, int block) {
    int shorter = Math.min(height(stage), width(stage));
    boolean shifted = block % 2 == 1 && shorter > window;
    return new SwinWindows(height(stage), width(stage), window, shifted ? window / 2 : 0);
  }

  @Override
  public String prefix() {
    return "swin";
  }

  /** In Hugging Face's class without a head, the modules have no prefix. */
  String path(HeadConfig head) {
    return head.kind() == HeadConfig.Kind.NONE ? "" : prefix() + ".";
  }

  static String stagePath(String base, int stage) {
    return base + "encoder.layers." + stage + ".";
  }

  static String blockPath(String base, int stage, int block) {
    return stagePath(base, stage) + "blocks." + block + ".";
  }

  @Override
  public InputForm input() {
    return InputForm.image(patches.channels(), patches.height(), patches.width());
  }

  @Override
  public ModuleTree modules(HeadConfig head) {
    String base = path(head);
    List<ModuleSpec> modules = new ArrayList<>();
    modules.add(
        ModuleSpec.linear(
                base + "embeddings.patch_embeddings.projection", patches.values(), embedding)
            .storedAs(patches.kernel(embedding)));
    modules.add(ModuleSpec.layerNorm(base + "embeddings.norm", embedding));
    for (int stage = 0; stage < stages(); stage++) {
      for (int block = 0; block < depths.get(stage); block++) {
        modules.addAll(blockModules(blockPath(base, stage, block), stage));
      }
      if (stage + 1 < stages()) {
        String merge = stagePath(base, stage) + "downsample.";
        int four = 4 * hidden(stage);
        modules.add(ModuleSpec.layerNorm(merge + "norm", four));
        modules.add(ModuleSpec.linear(merge + "reduction", four, hidden(stage + 1), false));
      }
    }
    modules.add(ModuleSpec.layerNorm(base + "layernorm", sizes.hidden()));
    switch (head.kind()) {
      case NONE -> {}
      case SEQUENCE, MEAN ->
          modules.add(
              ModuleSpec.linear(CLASSIFIER, sizes.hidden(), head.outputs())
                  .orElse(ModuleSpec.Origin.FRESH));
      case TOKEN, LANGUAGE ->
          throw new ConfigException("model.task", "a model of images has no head for each token");
    }
    return new ModuleTree(
        modules,
        new ModuleTree.Structure(List.of(), sizes.hidden(), sizes.heads(), sizes.hidden(), "", ""));
  }

  private List<ModuleSpec> blockModules(String path, int stage) {
    int hidden = hidden(stage);
    int rows = (2 * window - 1) * (2 * window - 1);
    String self = path + "attention.self.";
    return List.of(
        ModuleSpec.layerNorm(path + "layernorm_before", hidden),
        ModuleSpec.linear(self + "query", hidden, hidden, qkvBias),
        ModuleSpec.linear(self + "key", hidden, hidden, qkvBias),
        ModuleSpec.linear(self + "value", hidden, hidden, qkvBias),
        ModuleSpec.tensor(self + "relative_position_bias_table", List.of(rows, heads.get(stage))),
        ModuleSpec.linear(path + "attention.output.dense", hidden, hidden),
        ModuleSpec.layerNorm(path + "layernorm_after", hidden),
        ModuleSpec.linear(path + "intermediate.dense", hidden, intermediate(stage)),
        ModuleSpec.linear(path + "output.dense", intermediate(stage), hidden));
  }

  /** Attention goes window by window. */
  @Override
  public boolean isRowByRow() {
    return false;
  }

  @Override
  public Network network(HeadConfig head, FrozenLayers frozen, NDManager manager) {
    return new SwinEncoder(this, head, frozen, manager);
  }
}
