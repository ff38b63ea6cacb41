package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import org.sparkpeft.core.error.DataException;

/**
 * Vision Transformer (Dosovitskiy et al. 2020, arXiv 2010.11929) and DeiT (Touvron et al. 2020,
 * arXiv 2012.12877), which adds a distillation token. DeiT's class with a teacher averages the
 * heads on both tokens; in Hugging Face it is for inference only.
 */
final class VitModel {
  private VitModel() {}

  static Architecture vit(ModelConfig config) {
    return of(config, "vit", false, PatchHead.CLASS_TOKEN);
  }

  static Architecture deit(ModelConfig config) {
    boolean teacher =
        config.texts("architectures").contains("DeiTForImageClassificationWithTeacher");
    return of(config, "deit", true, teacher ? PatchHead.WITH_TEACHER : PatchHead.CLASS_TOKEN);
  }

  private static Architecture of(
      ModelConfig config, String prefix, boolean distilled, PatchHead head) {
    int[] image = config.heightAndWidth("image_size", 224);
    int size = config.count("patch_size", 16);
    config.requireDivides("pixels of a patch", size, "the image height", image[0]);
    config.requireDivides("pixels of a patch", size, "the image width", image[1]);
    Patches patches = Patches.tiles(config.count("num_channels", 3), image[0], image[1], size);
    BlockConfig blocks = blocks(config);
    return new PatchTransformer(
        prefix,
        PatchTransformer.sizes(
            blocks, patches, distilled, config.positive("initializer_range", 0.02)),
        blocks,
        distilled,
        patches,
        InputForm.image(patches.channels(), patches.height(), patches.width()),
        VitModel::pixels,
        head);
  }

  /** The layers as the settings of the Vision Transformer's family describe them. */
  static BlockConfig blocks(ModelConfig config) {
    int hidden = config.count("hidden_size", 768);
    int heads = config.count("num_attention_heads", 12);
    if (!config.has("head_dim")) {
      config.requireDivides("attention heads", heads, "the hidden size", hidden);
    }
    boolean bias = config.flag("qkv_bias", true);
    return new BlockConfig(
        config.count("num_hidden_layers", 12),
        hidden,
        heads,
        config.count("head_dim", hidden / heads),
        config.count("intermediate_size", 3072),
        config.activation("hidden_act"),
        (float) config.positive("layer_norm_eps", 1e-12),
        bias,
        bias,
        true);
  }

  /** An input of pixels as patches. */
  static NDArray pixels(NDManager step, Patches patches, ModelInput input) {
    PixelBatch batch = Network.pixels(input);
    if (batch.channels() != patches.channels()
        || batch.imageHeight() != patches.height()
        || batch.imageWidth() != patches.width()) {
      throw new DataException(
          "the model reads images of %d x %d x %d (channels, height, width), got %s; resize them"
              .formatted(patches.channels(), patches.height(), patches.width(), batch.shape()));
    }
    return patches.of(step, batch.images());
  }
}
