package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.nn.Linear;

/**
 * Keyword Transformer (Berg, O'Connor and Cruz 2021, arXiv 2104.00769): each frame of a recording
 * is a token; a class token in front, learned positions, post-norm layers. Hugging Face has no
 * class for it; its layers carry BERT's names.
 */
record KwtModel(ModelSizes sizes, BlockConfig blocks, int frames, int features)
    implements Architecture {
  private static final String CLASS_TOKEN = "embeddings.cls_token";
  private static final String POSITIONS = "embeddings.position_embeddings";
  private static final String PROJECTION = "embeddings.projection";
  private static final String CLASSIFIER = "classifier";

  static KwtModel of(ModelConfig config) {
    config.only("norm_position", List.of("post"));
    config.only("pooling", List.of("cls"));
    int hidden = config.count("hidden_size");
    int heads = config.count("num_attention_heads");
    config.requireDivides("attention heads", heads, "the hidden size", hidden);
    boolean bias = config.flag("attention_qkv_bias", false);
    int frames = config.count("num_frames");
    BlockConfig blocks =
        new BlockConfig(
            config.count("num_hidden_layers"),
            hidden,
            heads,
            hidden / heads,
            config.count("intermediate_size"),
            config.activation("hidden_act", "gelu_new"),
            (float) config.positive("layer_norm_eps", 1e-6),
            bias,
            bias,
            false);
    return new KwtModel(
        new ModelSizes(
            0,
            hidden,
            blocks.layers(),
            heads,
            0,
            Math.addExact(frames, 1),
            config.positive("initializer_range", 0.02)),
        blocks,
        frames,
        config.count("num_features"));
  }

  /** Empty: the checkpoint's names have none. */
  @Override
  public String prefix() {
    return "";
  }

  @Override
  public InputForm input() {
    return InputForm.frames(frames, features);
  }

  @Override
  public ModuleTree modules(HeadConfig head) {
    int hidden = blocks.hidden();
    List<ModuleSpec> modules = new ArrayList<>();
    modules.add(ModuleSpec.linear(PROJECTION, features, hidden));
    modules.add(ModuleSpec.tensor(CLASS_TOKEN, List.of(1, 1, hidden)));
    modules.add(ModuleSpec.tensor(POSITIONS, List.of(1, sizes.maxTokens(), hidden)));
    modules.addAll(TransformerBlocks.modules(blocks, EncoderNames.bert(), ""));
    switch (head.kind()) {
      case NONE -> {}
      case SEQUENCE, MEAN ->
          modules.add(
              ModuleSpec.linear(CLASSIFIER, hidden, head.outputs())
                  .orElse(ModuleSpec.Origin.FRESH));
      case TOKEN, LANGUAGE ->
          throw new ConfigException(
              "model.task", "a keyword transformer has no head for each token");
    }
    return new ModuleTree(
        modules, TransformerBlocks.structure(blocks, EncoderNames.bert(), "", ""));
  }

  @Override
  public Network network(HeadConfig head, FrozenLayers frozen, NDManager manager) {
    return new Encoder(
        this,
        head,
        frozen,
        frozen.linear(PROJECTION),
        new TransformerBlocks(blocks, EncoderNames.bert(), "", frozen, manager));
  }

  private record Encoder(
      KwtModel config,
      HeadConfig head,
      FrozenLayers frozen,
      Linear projection,
      TransformerBlocks blocks)
      implements Network {

    @Override
    public NDArray hidden(Pass pass, ModelInput input) {
      return blocks.forward(pass, embedded(pass, input), Visibility.ALL);
    }

    @Override
    public NDArray read(Pass pass, ModelInput input) {
      if (head.kind() != HeadConfig.Kind.SEQUENCE) {
        return Network.super.read(pass, input);
      }
      NDArray first = blocks.first(pass, embedded(pass, input), pass.virtualTokens() + 1);
      return features(pass, first, input);
    }

    private NDArray embedded(Pass pass, ModelInput input) {
      FrameBatch batch = Network.frames(input);
      if (batch.frames() != config.frames || batch.features() != config.features) {
        throw new DataException(
            "the model reads %d frames of %d features, got %s; pad or cut the recordings"
                .formatted(config.frames, config.features, batch.shape()));
      }
      int hidden = config.blocks.hidden();
      NDArray values =
          pass.step()
              .create(batch.flat(), new Shape(batch.size(), batch.frames(), batch.features()));
      NDArray x = pass.linear(projection, values); // [batch, frames, hidden]
      NDArray first = tensor(pass, CLASS_TOKEN).broadcast(new Shape(batch.size(), 1, hidden));
      x = first.concat(x, 1).add(tensor(pass, POSITIONS)); // [batch, 1 + frames, hidden]
      return pass.tuning().inputEmbeddings(x);
    }

    private NDArray tensor(Pass pass, String path) {
      return pass.tuning().tensor(pass.step(), path, frozen.tensor(path));
    }

    @Override
    public NDArray features(Pass pass, NDArray hidden, ModelInput input) {
      return head.kind() == HeadConfig.Kind.SEQUENCE
          ? hidden.get(new NDIndex(":, " + pass.virtualTokens()))
          : Pooling.withoutVirtual(pass, hidden).mean(new int[] {1});
    }

    @Override
    public NDArray logits(NDArray features, Tuning tuning) {
      if (head.kind() == HeadConfig.Kind.NONE) {
        throw new IllegalStateException("the model was loaded without a head");
      }
      return new HeadLayers(frozen, tuning).linear(CLASSIFIER, features);
    }

    @Override
    public void close() {
      blocks.close();
    }
  }
}
