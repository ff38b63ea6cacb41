package org.sparkpeft.core.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.Function;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.WeightSource;

/** Loads the base model that a directory's {@code config.json} describes. */
public final class Backbones {
  /** By {@code model_type}; checks every setting that changes what is computed. */
  private static final SortedMap<String, Function<ModelConfig, Architecture>> ARCHITECTURES =
      new TreeMap<>();

  static {
    ARCHITECTURES.put("bart", BartModel::of);
    ARCHITECTURES.put("bert", config -> encoder(new BertModel(), config));
    ARCHITECTURES.put("distilbert", config -> encoder(new DistilBertModel(), config));
    ARCHITECTURES.put("roberta", config -> encoder(new RobertaModel(), config));
    ARCHITECTURES.put("xlm-roberta", config -> encoder(new RobertaModel(), config));
    ARCHITECTURES.put("electra", config -> encoder(new ElectraModel(), config));
    ARCHITECTURES.put("mpnet", config -> encoder(MpnetModel.of(config), config));
    ARCHITECTURES.put("deberta-v2", config -> encoder(DebertaV2Model.of(config), config));
    ARCHITECTURES.put("gpt2", Gpt2Model::of);
    ARCHITECTURES.put("llama", LlamaModel::of);
    ARCHITECTURES.put("t5", T5Model::of);
    ARCHITECTURES.put("mistral", LlamaModel::mistral);
    ARCHITECTURES.put("qwen2", LlamaModel::qwen2);
    ARCHITECTURES.put("qwen3", LlamaModel::qwen3);
    ARCHITECTURES.put("phi3", Phi3Model::of);
    ARCHITECTURES.put("gemma2", Gemma2Model::of);
    ARCHITECTURES.put("gpt_neox", GptNeoxModel::of);
    ARCHITECTURES.put("opt", OptModel::of);
    ARCHITECTURES.put("vit", VitModel::vit);
    ARCHITECTURES.put("deit", VitModel::deit);
    ARCHITECTURES.put("audio-spectrogram-transformer", AstModel::of);
    ARCHITECTURES.put("kwt", KwtModel::of);
    ARCHITECTURES.put("swin", SwinModel::of);
    ARCHITECTURES.put("clip", ClipModel::of);
    ARCHITECTURES.put("wav2vec2", Wav2Vec2Model::of);
    ARCHITECTURES.put("whisper", WhisperModel::of);
  }

  private Backbones() {}

  private static Architecture encoder(EncoderFamily family, ModelConfig json) {
    EncoderConfig config = family.configure(json);
    json.requireDivides("attention heads", config.heads(), "the hidden size", config.hidden());
    return new EncoderArchitecture(family, config);
  }

  /**
   * Sizes of a model, read from the configuration alone.
   *
   * @throws FormatException if the architecture or a setting is not supported
   */
  public static ModelSizes config(ModelDirectory directory) {
    return architecture(directory).sizes();
  }

  /** What a model reads of an example, read from the configuration alone. */
  public static InputForm input(ModelDirectory directory) {
    return architecture(directory).input();
  }

  /** The modules of a model and its head, read from the configuration alone. */
  public static ModuleTree modules(ModelDirectory directory, HeadConfig head) {
    return architecture(directory).modules(head);
  }

  /** Whether the model continues texts: one that neither has nor is an encoder. */
  public static boolean isDecoder(ModelDirectory directory) {
    Architecture known = architecture(directory);
    return !known.isEncoderDecoder() && !known.seesAhead();
  }

  /** Whether the model continues texts with a decoder that sees what its encoder read. */
  public static boolean isEncoderDecoder(ModelDirectory directory) {
    return architecture(directory).isEncoderDecoder();
  }

  /** The model without a head. */
  public static Backbone load(ModelDirectory directory, ComputeDevice device) {
    return load(directory, device, HeadConfig.NO_HEAD);
  }

  /** The model with a task head, in float32. */
  public static Backbone load(ModelDirectory directory, ComputeDevice device, HeadConfig head) {
    return load(directory, device, head, WeightForm.FLOAT32);
  }

  /**
   * The model with a task head. Tensors are read one at a time, so that no more than one of them is
   * in memory in another form than the one asked for.
   *
   * @throws FormatException if the architecture or a setting is not supported, or tensors are
   *     missing or have another shape
   * @throws org.sparkpeft.core.error.ConfigException if the form does not fit the model
   */
  public static Backbone load(
      ModelDirectory directory, ComputeDevice device, HeadConfig head, WeightForm form) {
    Architecture architecture = architecture(directory);
    try (WeightSource weights = directory.weights()) {
      return new FrozenBackbone(
          architecture, head, directory.path().toString(), weights, device, form);
    }
  }

  private static Architecture architecture(ModelDirectory directory) {
    String source = directory.path().resolve("config.json").toString();
    JsonNode type = directory.config().path("model_type");
    Function<ModelConfig, Architecture> known = ARCHITECTURES.get(type.asText());
    if (known == null) {
      throw new FormatException(
          source,
          "model_type "
              + (type.isMissingNode() ? "is missing" : type + " is not supported")
              + "; supported are "
              + String.join(", ", supported()));
    }
    return known.apply(new ModelConfig(source, directory.config()));
  }

  /** Values of {@code model_type} that can be loaded. */
  public static List<String> supported() {
    return List.copyOf(ARCHITECTURES.keySet());
  }
}
