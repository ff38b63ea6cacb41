package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.nn.Norm;

/**
 * A transformer over the patches of an image: each patch becomes a token through one linear layer;
 * class tokens come in front; learned positions are added; pre-norm layers and a norm follow. A
 * trained prompt's tokens stand before the class token and have no positions, as in Visual Prompt
 * Tuning (Jia et al. 2022, arXiv 2203.12119).
 *
 * @param prefix Hugging Face's {@code base_model_prefix}
 * @param distilled whether a distillation token follows the class token
 * @param patches how an image is cut
 * @param input what is read of an example
 * @param reader how an input is cut into {@code [batch, patches, values]}
 * @param sequenceHead the head of the classification class
 */
record PatchTransformer(
    String prefix,
    ModelSizes sizes,
    BlockConfig blocks,
    boolean distilled,
    Patches patches,
    InputForm input,
    Reader reader,
    PatchHead sequenceHead)
    implements Architecture {
  private static final String CLASSIFIER = "classifier";

  /** Cuts an input into patches. */
  interface Reader {
    /**
     * @throws org.sparkpeft.core.error.DataException if the input has another size
     */
    NDArray read(NDManager step, Patches patches, ModelInput input);
  }

  /** Sizes that follow from the rest. */
  static ModelSizes sizes(
      BlockConfig blocks, Patches patches, boolean distilled, double initializerRange) {
    int tokens = patches.count() + (distilled ? 2 : 1);
    return new ModelSizes(
        0, blocks.hidden(), blocks.layers(), blocks.heads(), 0, tokens, initializerRange);
  }

  @Override
  public ModuleTree modules(HeadConfig head) {
    String base = path(head);
    String embeddings = base + "embeddings.";
    int hidden = blocks.hidden();
    List<ModuleSpec> modules = new ArrayList<>();
    modules.add(ModuleSpec.tensor(embeddings + "cls_token", List.of(1, 1, hidden)));
    if (distilled) {
      modules.add(ModuleSpec.tensor(embeddings + "distillation_token", List.of(1, 1, hidden)));
    }
    modules.add(
        ModuleSpec.tensor(
            embeddings + "position_embeddings", List.of(1, sizes.maxTokens(), hidden)));
    modules.add(
        ModuleSpec.linear(embeddings + "patch_embeddings.projection", patches.values(), hidden)
            .storedAs(patches.kernel(hidden)));
    modules.addAll(TransformerBlocks.modules(blocks, EncoderNames.vit(), base));
    modules.add(ModuleSpec.layerNorm(base + "layernorm", hidden));
    modules.addAll(headModules(head));
    return new ModuleTree(
        modules, TransformerBlocks.structure(blocks, EncoderNames.vit(), base, ""));
  }

  private List<ModuleSpec> headModules(HeadConfig head) {
    return switch (head.kind()) {
      case NONE -> List.of();
      case SEQUENCE -> sequenceHead.modules(blocks.hidden(), head.outputs());
      case MEAN ->
          List.of(
              ModuleSpec.linear(CLASSIFIER, blocks.hidden(), head.outputs())
                  .orElse(ModuleSpec.Origin.FRESH));
      case TOKEN, LANGUAGE ->
          throw new ConfigException(
              "model.task", "a model of images or recordings has no head for each token");
    };
  }

  /** In Hugging Face's class without a head, the modules have no prefix. */
  private String path(HeadConfig head) {
    return head.kind() == HeadConfig.Kind.NONE ? "" : prefix + ".";
  }

  @Override
  public Network network(HeadConfig head, FrozenLayers frozen, NDManager manager) {
    return new Encoder(this, head, frozen, manager);
  }

  private static final class Encoder implements Network {
    private final PatchTransformer config;
    private final HeadConfig head;
    private final FrozenLayers frozen;
    private final List<String> tokens = new ArrayList<>();
    private final String positions;
    private final Linear projection;
    private final TransformerBlocks blocks;
    private final Norm norm;

    Encoder(PatchTransformer config, HeadConfig head, FrozenLayers frozen, NDManager manager) {
      this.config = config;
      this.head = head;
      this.frozen = frozen;
      String base = config.path(head);
      String embeddings = base + "embeddings.";
      tokens.add(embeddings + "cls_token");
      if (config.distilled) {
        tokens.add(embeddings + "distillation_token");
      }
      this.positions = embeddings + "position_embeddings";
      this.projection = frozen.linear(embeddings + "patch_embeddings.projection");
      this.blocks = new TransformerBlocks(config.blocks, EncoderNames.vit(), base, frozen, manager);
      this.norm = frozen.layerNorm(base + "layernorm", config.blocks.epsilon());
    }

    @Override
    public NDArray hidden(Pass pass, ModelInput input) {
      return pass.norm(norm, blocks.forward(pass, embedded(pass, input), Visibility.ALL));
    }

    @Override
    public NDArray read(Pass pass, ModelInput input) {
      if (head.kind() != HeadConfig.Kind.SEQUENCE) {
        return Network.super.read(pass, input);
      }
      int count = pass.virtualTokens() + tokens.size();
      NDArray first = blocks.first(pass, embedded(pass, input), count);
      return features(pass, pass.norm(norm, first), input);
    }

    private NDArray embedded(Pass pass, ModelInput input) {
      NDArray patches = config.reader.read(pass.step(), config.patches, input);
      NDArray x = pass.linear(projection, patches); // [batch, patches, hidden]
      x = withTokens(pass, x).add(tensor(pass, positions)); // [batch, tokens, hidden]
      return pass.tuning().inputEmbeddings(x);
    }

    private NDArray withTokens(Pass pass, NDArray patches) {
      Shape one = new Shape(patches.getShape().get(0), 1, config.blocks.hidden());
      NDArray x = patches;
      for (int i = tokens.size() - 1; i >= 0; i--) {
        x = tensor(pass, tokens.get(i)).broadcast(one).concat(x, 1);
      }
      return x;
    }

    private NDArray tensor(Pass pass, String path) {
      return pass.tuning().tensor(pass.step(), path, frozen.tensor(path));
    }

    @Override
    public NDArray features(Pass pass, NDArray hidden, ModelInput input) {
      return head.kind() == HeadConfig.Kind.SEQUENCE
          ? config.sequenceHead.features(hidden, pass.virtualTokens())
          : Pooling.withoutVirtual(pass, hidden).mean(new int[] {1});
    }

    @Override
    public NDArray logits(NDArray features, Tuning tuning) {
      HeadLayers layers = new HeadLayers(frozen, tuning);
      return switch (head.kind()) {
        case NONE -> throw new IllegalStateException("the model was loaded without a head");
        case SEQUENCE -> config.sequenceHead.logits(layers, features, config.blocks.epsilon());
        case MEAN, TOKEN, LANGUAGE -> layers.linear(CLASSIFIER, features);
      };
    }

    @Override
    public void close() {
      blocks.close();
    }
  }
}
