package org.sparkpeft.core.train;

import java.io.Serializable;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.stream.Collectors;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.WeightSource;
import org.sparkpeft.core.model.Backbones;
import org.sparkpeft.core.model.HeadConfig;
import org.sparkpeft.core.model.InputForm;

/**
 * What is learned.
 *
 * @param task {@code text-classification}, {@code image-classification}, {@code
 *     audio-classification}, {@code multi-label-classification}, {@code regression}, {@code
 *     token-classification}, {@code sentence-embedding}, {@code text-generation} (the next token),
 *     {@code text2text-generation} (a decoder's tokens, given an encoder's), or, from preferences,
 *     {@code dpo}, {@code ipo}, {@code orpo} or {@code kto}
 * @param labels names of the classes, in the order of the head's outputs; empty for {@code
 *     sentence-embedding}, where words are predicted and, where one value is predicted, for {@code
 *     regression}
 * @param pooling how a text becomes one vector: {@code cls}, the first token through the head of
 *     Hugging Face's class; {@code mean}, the mean of all tokens' last hidden states; {@code auto},
 *     which {@link #resolvedFor} decides and is {@code cls} before. Sentence embeddings are always
 *     means, token tasks pool nothing
 * @param maxLength longest text in tokens, with special tokens; longer ones are cut
 * @param preference how preferences are learnt; {@link PreferenceConfig#defaults} for other tasks
 */
public record TaskConfig(
    String task, List<String> labels, String pooling, int maxLength, PreferenceConfig preference)
    implements Serializable {

  public TaskConfig {
    labels = List.copyOf(labels);
    boolean known = Task.named(task).isPresent();
    Problems problems =
        new Problems()
            .require(known, "task", task, "must be one of " + Task.names())
            .require(
                List.of("auto", "cls", "mean").contains(pooling),
                "pooling",
                pooling,
                "must be auto, cls or mean")
            .require(
                maxLength >= 4 && maxLength <= 32_768, "max_length", maxLength, "must be 4..32768")
            .require(
                new HashSet<>(labels).size() == labels.size(),
                "labels",
                labels,
                "must all be different");
    if (known) {
      Task kind = Task.named(task).orElseThrow();
      problems.require(
          labels.size() >= kind.minLabels() && labels.size() <= kind.maxLabels(),
          "labels",
          labels,
          task + " needs " + kind.minLabels() + ".." + kind.maxLabels() + " labels");
      preference.check(problems, "preference.", task, maxLength);
    }
    problems.throwIfAny();
  }

  /** With the usual settings where preferences are learnt. */
  public TaskConfig(String task, List<String> labels, String pooling, int maxLength) {
    this(task, labels, pooling, maxLength, PreferenceConfig.defaults());
  }

  /** Classification of texts into the given classes, with at most 128 tokens each. */
  public static TaskConfig textClassification(List<String> labels) {
    return new TaskConfig("text-classification", labels, "auto", 128);
  }

  /**
   * The same with {@code auto} decided: {@code mean} for a BERT checkpoint without pooler, which is
   * how sentence encoders come and what they were trained for; else {@code cls}, the head of
   * Hugging Face's class.
   *
   * @throws org.sparkpeft.core.error.ConfigException if preferences are to be learnt and the model
   *     is no decoder
   */
  public TaskConfig resolvedFor(ModelDirectory model) {
    requireArchitecture(model);
    if (!pooling.equals("auto")) {
      return this;
    }
    try (WeightSource weights = model.weights()) {
      boolean bert = model.config().path("model_type").asText().equals("bert");
      boolean pooler =
          weights.contains("pooler.dense.weight") || weights.contains("bert.pooler.dense.weight");
      return new TaskConfig(task, labels, bert && !pooler ? "mean" : "cls", maxLength, preference);
    }
  }

  /** Whether completions are preferred to others. */
  public boolean isPreference() {
    return kind().isPreference();
  }

  /**
   * Refuses a task that a model cannot learn, such as one of texts on a model of images.
   *
   * @throws ConfigException if it cannot
   */
  public static void requireInput(String task, InputForm input) {
    if (!Task.named(task).orElseThrow().reads(input.kind())) {
      throw new ConfigException(
          "model.task",
          task
              + " does not go with a model that reads "
              + input.kind().what()
              + "; its task can be "
              + Arrays.stream(Task.values())
                  .filter(other -> other.reads(input.kind()))
                  .map(Task::configName)
                  .collect(Collectors.joining(", ")));
    }
  }

  /**
   * @throws ConfigException if words are to be predicted and the model cannot: next tokens and
   *     preferences need a decoder, text-to-text an encoder with one
   */
  void requireArchitecture(ModelDirectory model) {
    boolean pairs = kind() == Task.TEXT_TO_TEXT;
    if (kind().isLanguage()
        && !(pairs ? Backbones.isEncoderDecoder(model) : Backbones.isDecoder(model))) {
      throw new ConfigException(
          "model.task",
          task
              + (pairs
                  ? " needs an encoder with a decoder, such as T5 or BART; "
                  : " needs a decoder, such as Llama or GPT-2, that continues a prompt; ")
              + model.path()
              + " is none: "
              + model.config().path("model_type").asText());
    }
  }

  Task kind() {
    return Task.named(task).orElseThrow();
  }

  /** Numbers the head returns for each example or token. */
  int outputs() {
    return kind() == Task.REGRESSION ? Math.max(1, labels.size()) : labels.size();
  }

  HeadConfig head() {
    return switch (kind()) {
      case TEXT_CLASSIFICATION,
          IMAGE_CLASSIFICATION,
          AUDIO_CLASSIFICATION,
          MULTI_LABEL_CLASSIFICATION,
          REGRESSION ->
          new HeadConfig(
              pooling.equals("mean") ? HeadConfig.Kind.MEAN : HeadConfig.Kind.SEQUENCE, outputs());
      case TOKEN_CLASSIFICATION -> new HeadConfig(HeadConfig.Kind.TOKEN, outputs());
      case SENTENCE_EMBEDDING -> HeadConfig.NO_HEAD;
      case TEXT_GENERATION, TEXT_TO_TEXT, DPO, IPO, ORPO, KTO -> HeadConfig.LANGUAGE;
    };
  }
}
