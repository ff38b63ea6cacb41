package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.engine.AttentionKernel;
import org.sparkpeft.core.error.ConfigException;

/** A BERT-like encoder with one of the heads of {@link HeadConfig}. */
record EncoderArchitecture(EncoderFamily family, EncoderConfig config) implements Architecture {
  private static final String CLASSIFIER = "classifier";

  @Override
  public String prefix() {
    return family.prefix();
  }

  @Override
  public ModelSizes sizes() {
    return new ModelSizes(
        config.vocabulary(),
        config.hidden(),
        config.layers(),
        config.heads(),
        config.padId(),
        config.maxTokens(),
        config.initializerRange());
  }

  @Override
  public ModuleTree modules(HeadConfig head) {
    String prefix = path(head);
    List<ModuleSpec> modules = new ArrayList<>(PostNormEncoder.modules(config, family, prefix));
    String output = "";
    switch (head.kind()) {
      case NONE -> {}
      case SEQUENCE -> modules.addAll(family.sequenceHead(config, head.outputs()));
      case MEAN, TOKEN ->
          modules.add(
              ModuleSpec.linear(CLASSIFIER, config.hidden(), head.outputs())
                  .orElse(ModuleSpec.Origin.FRESH));
      case LANGUAGE -> {
        WordHead words = wordHead();
        modules.addAll(words.modules(config, prefix + PostNormEncoder.WORDS));
        output = words.decoder();
      }
    }
    return new ModuleTree(
        modules, PostNormEncoder.structure(config, family.names(), prefix, output));
  }

  private WordHead wordHead() {
    return family
        .wordHead(config)
        .orElseThrow(
            () ->
                new ConfigException(
                    "model.task", "language modelling is not supported for this encoder"));
  }

  @Override
  public boolean seesAhead() {
    return true;
  }

  /** In Hugging Face's class without a head, the encoder's modules have no prefix. */
  private String path(HeadConfig head) {
    return head.kind() == HeadConfig.Kind.NONE ? "" : family.prefix() + ".";
  }

  @Override
  public boolean isRowByRow() {
    return family.isRowByRow();
  }

  @Override
  public Network network(HeadConfig head, FrozenLayers layers, NDManager manager) {
    AttentionKernel attention =
        new AttentionKernel(
            manager,
            new AttentionKernel.Form(
                config.heads(),
                config.heads(),
                config.hidden() / config.heads(),
                family.scoreScale(config),
                0));
    PostNormEncoder encoder = new PostNormEncoder(config, family, path(head), layers, attention);
    return new Encoder(this, head, layers, attention, encoder);
  }

  private record Encoder(
      EncoderArchitecture architecture,
      HeadConfig head,
      FrozenLayers frozen,
      AttentionKernel attention,
      PostNormEncoder encoder)
      implements Network {

    @Override
    public NDArray hidden(Pass pass, ModelInput input) {
      return encoder.forward(pass, Network.tokens(input));
    }

    @Override
    public NDArray read(Pass pass, ModelInput input) {
      if (head.kind() != HeadConfig.Kind.SEQUENCE) {
        return Network.super.read(pass, input);
      }
      return features(pass, encoder.forward(pass, Network.tokens(input), 1), input);
    }

    @Override
    public NDArray features(Pass pass, NDArray hidden, ModelInput input) {
      return switch (head.kind()) {
        case NONE, MEAN -> Pooling.mean(pass, hidden, Network.tokens(input));
        case SEQUENCE -> hidden.get(new NDIndex(":, 0"));
        case TOKEN -> Pooling.withoutVirtual(pass, hidden);
        case LANGUAGE -> hidden;
      };
    }

    @Override
    public NDArray logits(NDArray features, Tuning tuning) {
      HeadLayers layers = new HeadLayers(frozen, tuning);
      return switch (head.kind()) {
        case NONE -> throw new IllegalStateException("the model was loaded without a head");
        case SEQUENCE -> architecture.family.sequenceLogits(layers, features);
        case MEAN, TOKEN -> layers.linear(CLASSIFIER, features);
        case LANGUAGE ->
            architecture.wordHead().logits(architecture.config, frozen, tuning, features);
      };
    }

    @Override
    public void close() {
      attention.close();
    }
  }
}
