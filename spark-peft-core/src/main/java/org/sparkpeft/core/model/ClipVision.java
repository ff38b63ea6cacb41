package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.Linear;

/** CLIP's image tower: a Vision Transformer with a norm in front, whose patches have no bias. */
record ClipVision(BlockConfig blocks, Patches patches) {
  private static final String BASE = "vision_model.";
  private static final String CLASS_TOKEN = BASE + "embeddings.class_embedding";
  private static final String PATCHES = BASE + "embeddings.patch_embedding";
  private static final String POSITIONS = BASE + "embeddings.position_embedding";
  private static final String FIRST_NORM = BASE + "pre_layrnorm"; // spelled so
  private static final String LAST_NORM = BASE + "post_layernorm";

  static ClipVision of(ModelConfig config) {
    int[] image = config.heightAndWidth("image_size", 224);
    int size = config.count("patch_size", 32);
    config.requireDivides("pixels of a patch", size, "the image height", image[0]);
    config.requireDivides("pixels of a patch", size, "the image width", image[1]);
    return new ClipVision(
        ClipModel.blocks(config, 768, 12, 3072),
        Patches.tiles(config.count("num_channels", 3), image[0], image[1], size));
  }

  InputForm input() {
    return InputForm.image(patches.channels(), patches.height(), patches.width());
  }

  private int tokens() {
    return patches.count() + 1;
  }

  /**
   * @param pooled whether the class token's own norm is there
   */
  List<ModuleSpec> modules(boolean pooled) {
    int hidden = blocks.hidden();
    List<ModuleSpec> modules = new ArrayList<>();
    modules.add(ModuleSpec.tensor(CLASS_TOKEN, List.of(hidden)));
    modules.add(
        ModuleSpec.linear(PATCHES, patches.values(), hidden, false)
            .storedAs(patches.kernel(hidden)));
    modules.add(ModuleSpec.embedding(POSITIONS, tokens(), hidden));
    modules.add(ModuleSpec.layerNorm(FIRST_NORM, hidden));
    modules.addAll(TransformerBlocks.modules(blocks, EncoderNames.clip(), BASE));
    if (pooled) {
      modules.add(ModuleSpec.layerNorm(LAST_NORM, hidden));
    }
    return modules;
  }

  ModuleTree.Structure structure() {
    return TransformerBlocks.structure(blocks, EncoderNames.clip(), BASE, "");
  }

  Tower tower(FrozenLayers frozen, NDManager manager) {
    return new Tower(
        this,
        frozen,
        frozen.linear(PATCHES),
        frozen.embedding(POSITIONS),
        new TransformerBlocks(blocks, EncoderNames.clip(), BASE, frozen, manager));
  }

  /** The tower over loaded layers. */
  record Tower(
      ClipVision config,
      FrozenLayers frozen,
      Linear projection,
      Embedding positions,
      TransformerBlocks blocks)
      implements AutoCloseable {

    /** {@code [batch, virtual tokens + 1 + patches, hidden]}. */
    NDArray hidden(Pass pass, PixelBatch input) {
      NDArray x = pass.linear(projection, VitModel.pixels(pass.step(), config.patches, input));
      NDArray first = pass.tuning().tensor(pass.step(), CLASS_TOKEN, frozen.tensor(CLASS_TOKEN));
      Shape one = new Shape(input.size(), 1, config.blocks.hidden());
      x = first.reshape(1, 1, -1).broadcast(one).concat(x, 1); // [batch, tokens, hidden]
      int[] places = BertModel.countFrom(0, config.tokens());
      NDArray at = pass.step().create(places, new Shape(1, places.length));
      x = x.add(pass.embedding(positions, at));
      x = norm(pass, FIRST_NORM, pass.tuning().inputEmbeddings(x));
      return blocks.forward(pass, x, Visibility.ALL);
    }

    /** The class token's normalised state, {@code [batch, hidden]}. */
    NDArray pooled(Pass pass, NDArray hidden) {
      return norm(pass, LAST_NORM, hidden.get(new NDIndex(":, " + pass.virtualTokens())));
    }

    /** The states of the patches alone. */
    NDArray patches(Pass pass, NDArray hidden) {
      return hidden.get(new NDIndex(":, " + (pass.virtualTokens() + 1) + ":"));
    }

    private NDArray norm(Pass pass, String path, NDArray x) {
      return pass.norm(frozen.layerNorm(path, config.blocks.epsilon()), x);
    }

    @Override
    public void close() {
      blocks.close();
    }
  }
}
