package org.sparkpeft.core.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.List;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.WeightSource;

/** Loads the base model that a directory's {@code config.json} describes. */
public final class Backbones {
  private Backbones() {}

  /**
   * Sizes of a model, read from the configuration alone.
   *
   * @throws FormatException if the architecture or a setting is not supported
   */
  public static EncoderConfig config(ModelDirectory directory) {
    return configure(family(directory), directory);
  }

  /** The modules of a model and its head, read from the configuration alone. */
  public static ModuleTree modules(ModelDirectory directory, HeadConfig head) {
    EncoderFamily family = family(directory);
    return EncoderBackbone.modules(family, configure(family, directory), head);
  }

  /** The encoder without a head. */
  public static Backbone load(ModelDirectory directory, ComputeDevice device) {
    return load(directory, device, HeadConfig.NO_HEAD);
  }

  /**
   * The model with a task head. Weights are read as float32.
   *
   * @throws FormatException if the architecture or a setting is not supported, or tensors are
   *     missing or have another shape
   */
  public static Backbone load(ModelDirectory directory, ComputeDevice device, HeadConfig head) {
    EncoderFamily family = family(directory);
    EncoderConfig config = configure(family, directory);
    try (WeightSource weights = directory.weights()) {
      return new EncoderBackbone(
          family, config, head, directory.path().toString(), weights, device);
    }
  }

  private static EncoderConfig configure(EncoderFamily family, ModelDirectory directory) {
    String source = directory.path().resolve("config.json").toString();
    EncoderConfig config = family.configure(new ModelConfig(source, directory.config()));
    if (config.hidden() % config.heads() != 0) {
      throw new FormatException(
          source,
          config.heads() + " attention heads do not divide the hidden size " + config.hidden());
    }
    return config;
  }

  private static EncoderFamily family(ModelDirectory directory) {
    JsonNode type = directory.config().path("model_type");
    return switch (type.asText()) {
      case "bert" -> new BertModel();
      case "roberta", "xlm-roberta" -> new RobertaModel();
      case "distilbert" -> new DistilBertModel();
      default ->
          throw new FormatException(
              directory.path().resolve("config.json").toString(),
              "model_type "
                  + (type.isMissingNode() ? "is missing" : type + " is not supported")
                  + "; supported are "
                  + String.join(", ", supported()));
    };
  }

  /** Values of {@code model_type} that can be loaded. */
  public static List<String> supported() {
    return List.of("bert", "distilbert", "roberta", "xlm-roberta");
  }
}
