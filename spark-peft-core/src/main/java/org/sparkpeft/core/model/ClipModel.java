package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.error.ConfigException;

/**
 * CLIP (Radford et al. 2021, arXiv 2103.00020): an image tower and a text tower whose outputs are
 * projected to unit vectors of one space.
 *
 * <p>Without a head it reads images, texts, or both. Features are the unit vectors, {@code [batch,
 * projection]}; of an {@link ImageTextBatch}, {@code hidden} already is both, {@code [batch, 2,
 * projection]}, image first, and {@code logits} compares every image with every text, {@code
 * [images, texts]}. With a head for sequences it is Hugging Face's {@code
 * CLIPForImageClassification}: the image tower and a linear layer on the mean of its patches.
 *
 * @param sizes of the image tower, with the text's vocabulary
 * @param projection size of the common space
 */
record ClipModel(ModelSizes sizes, ClipVision vision, ClipText text, int projection)
    implements Architecture {
  private static final String SCALE = "logit_scale";
  private static final String CLASSIFIER = "classifier";
  static final String IMAGE_PROJECTION = "visual_projection";
  static final String TEXT_PROJECTION = "text_projection";

  static ClipModel of(ModelConfig config) {
    config.only("text_config_dict", List.of());
    config.only("vision_config_dict", List.of());
    ClipVision vision = ClipVision.of(config.child("vision_config"));
    ClipText text = ClipText.of(config.child("text_config"));
    return new ClipModel(
        new ModelSizes(
            text.vocabulary(),
            vision.blocks().hidden(),
            vision.blocks().layers(),
            vision.blocks().heads(),
            text.padId(),
            text.positions(),
            config.child("vision_config").positive("initializer_range", 0.02)),
        vision,
        text,
        config.count("projection_dim", 512));
  }

  /** The blocks of one tower. */
  static BlockConfig blocks(ModelConfig config, int hidden, int heads, int intermediate) {
    int size = config.count("hidden_size", hidden);
    int count = config.count("num_attention_heads", heads);
    config.requireDivides("attention heads", count, "the hidden size", size);
    return new BlockConfig(
        config.count("num_hidden_layers", 12),
        size,
        count,
        size / count,
        config.count("intermediate_size", intermediate),
        config.activation("hidden_act", "quick_gelu"),
        (float) config.positive("layer_norm_eps", 1e-5),
        true,
        true,
        true);
  }

  @Override
  public String prefix() {
    return "clip";
  }

  @Override
  public InputForm input() {
    return vision.input();
  }

  @Override
  public ModuleTree modules(HeadConfig head) {
    int hidden = vision.blocks().hidden();
    return switch (head.kind()) {
      case NONE -> {
        List<ModuleSpec> modules = new ArrayList<>(vision.modules(true));
        modules.addAll(text.modules());
        modules.add(ModuleSpec.linear(IMAGE_PROJECTION, hidden, projection, false));
        modules.add(ModuleSpec.linear(TEXT_PROJECTION, text.blocks().hidden(), projection, false));
        modules.add(ModuleSpec.tensor(SCALE, List.of()));
        // The towers' sizes differ: methods that need one size for all layers must refuse.
        yield new ModuleTree(
            modules, new ModuleTree.Structure(List.of(), hidden, sizes.heads(), hidden, "", ""));
      }
      case SEQUENCE, MEAN -> {
        List<ModuleSpec> modules = new ArrayList<>(vision.modules(false));
        modules.add(
            ModuleSpec.linear(CLASSIFIER, hidden, head.outputs()).orElse(ModuleSpec.Origin.FRESH));
        yield new ModuleTree(modules, vision.structure());
      }
      case TOKEN, LANGUAGE ->
          throw new ConfigException("model.task", "CLIP has no head for each token");
    };
  }

  @Override
  public Network network(HeadConfig head, FrozenLayers frozen, NDManager manager) {
    boolean both = head.kind() == HeadConfig.Kind.NONE;
    return new Towers(
        head,
        frozen,
        vision.tower(frozen, manager),
        both ? Optional.of(text.tower(frozen, manager)) : Optional.empty());
  }

  private record Towers(
      HeadConfig head, FrozenLayers frozen, ClipVision.Tower images, Optional<ClipText.Tower> texts)
      implements Network {

    @Override
    public NDArray hidden(Pass pass, ModelInput input) {
      if (input instanceof ImageTextBatch pairs && texts.isPresent()) {
        NDArray image = embedding(pass, hidden(pass, pairs.images()), pairs.images());
        NDArray text = embedding(pass, hidden(pass, pairs.texts()), pairs.texts());
        return image.expandDims(1).concat(text.expandDims(1), 1); // [batch, 2, projection]
      }
      if (input instanceof TokenBatch tokens && texts.isPresent()) {
        return texts.get().hidden(pass, tokens);
      }
      return images.hidden(pass, Network.pixels(input));
    }

    @Override
    public NDArray features(Pass pass, NDArray hidden, ModelInput input) {
      return switch (head.kind()) {
        case SEQUENCE -> images.patches(pass, hidden).mean(new int[] {1});
        case MEAN -> Pooling.withoutVirtual(pass, hidden).mean(new int[] {1});
        case NONE, TOKEN, LANGUAGE ->
            input instanceof ImageTextBatch ? hidden : embedding(pass, hidden, input);
      };
    }

    /** Unit vectors, {@code [batch, projection]}. */
    private NDArray embedding(Pass pass, NDArray hidden, ModelInput input) {
      boolean words = input instanceof TokenBatch && texts.isPresent();
      NDArray pooled =
          words
              ? texts.get().pooled(pass, hidden, Network.tokens(input))
              : images.pooled(pass, hidden);
      String layer = words ? TEXT_PROJECTION : IMAGE_PROJECTION;
      NDArray projected = new HeadLayers(frozen, pass.tuning()).linear(layer, pooled);
      return projected.div(projected.square().sum(new int[] {1}, true).sqrt());
    }

    @Override
    public NDArray logits(NDArray features, Tuning tuning) {
      if (head.kind() != HeadConfig.Kind.NONE) {
        return new HeadLayers(frozen, tuning).linear(CLASSIFIER, features);
      }
      if (features.getShape().dimension() != 3) {
        throw new IllegalStateException(
            "without a head, CLIP compares images with texts: give it both");
      }
      NDList sides = features.split(2, 1);
      NDArray scale = tuning.tensor(features.getManager(), SCALE, frozen.tensor(SCALE));
      NDArray products = sides.get(0).squeeze(1).matMul(sides.get(1).squeeze(1).transpose());
      return products.mul(scale.exp());
    }

    @Override
    public void close() {
      images.close();
      texts.ifPresent(ClipText.Tower::close);
    }
  }
}
