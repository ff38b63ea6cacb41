package org.sparkpeft.core.train;

import java.util.Arrays;
import java.util.Optional;
import java.util.stream.Collectors;
import org.sparkpeft.core.model.InputForm;

/** The tasks a model can be tuned for. */
enum Task {
  TEXT_CLASSIFICATION("text-classification", "SEQ_CLS", 2, 100_000),
  IMAGE_CLASSIFICATION("image-classification", "", 2, 100_000),
  AUDIO_CLASSIFICATION("audio-classification", "", 2, 100_000),
  MULTI_LABEL_CLASSIFICATION("multi-label-classification", "SEQ_CLS", 1, 100_000),
  REGRESSION("regression", "SEQ_CLS", 0, 1_000),
  TOKEN_CLASSIFICATION("token-classification", "TOKEN_CLS", 2, 100_000),
  SENTENCE_EMBEDDING("sentence-embedding", "FEATURE_EXTRACTION", 0, 0),
  TEXT_GENERATION("text-generation", "CAUSAL_LM", 0, 0),
  TEXT_TO_TEXT("text2text-generation", "SEQ_2_SEQ_LM", 0, 0),
  DPO("dpo", "CAUSAL_LM", 0, 0),
  IPO("ipo", "CAUSAL_LM", 0, 0),
  ORPO("orpo", "CAUSAL_LM", 0, 0),
  KTO("kto", "CAUSAL_LM", 0, 0);

  private final String configName;
  private final String huggingFaceType;
  private final int minLabels;
  private final int maxLabels;

  Task(String configName, String huggingFaceType, int minLabels, int maxLabels) {
    this.configName = configName;
    this.huggingFaceType = huggingFaceType;
    this.minLabels = minLabels;
    this.maxLabels = maxLabels;
  }

  String configName() {
    return configName;
  }

  static Optional<Task> named(String name) {
    return Arrays.stream(values()).filter(t -> t.configName.equals(name)).findFirst();
  }

  static String names() {
    return Arrays.stream(values()).map(t -> t.configName).collect(Collectors.joining(", "));
  }

  /** Hugging Face PEFT's {@code task_type}; empty where it has none. */
  String huggingFaceType() {
    return huggingFaceType;
  }

  int minLabels() {
    return minLabels;
  }

  int maxLabels() {
    return maxLabels;
  }

  /** Whether the model has outputs for each token. */
  boolean isPerToken() {
    return this == TOKEN_CLASSIFICATION || isLanguage();
  }

  /** Whether a model that reads examples of this kind can learn the task. */
  boolean reads(InputForm.Kind kind) {
    return switch (kind) {
      case TOKENS -> this != IMAGE_CLASSIFICATION && this != AUDIO_CLASSIFICATION;
      case IMAGE -> this == IMAGE_CLASSIFICATION;
      case FRAMES, SAMPLES -> this == AUDIO_CLASSIFICATION;
    };
  }

  /** Whether words are predicted. */
  boolean isLanguage() {
    return this == TEXT_GENERATION || this == TEXT_TO_TEXT || isPreference();
  }

  /** Whether completions are preferred to others. */
  boolean isPreference() {
    return PreferenceConfig.isFor(configName);
  }

  Objective objective(TaskConfig config) {
    return switch (this) {
      case TEXT_CLASSIFICATION, IMAGE_CLASSIFICATION, AUDIO_CLASSIFICATION ->
          new SoftmaxObjective(config.outputs());
      case MULTI_LABEL_CLASSIFICATION -> new MultiLabelObjective(config.outputs());
      case REGRESSION -> new RegressionObjective(config.outputs());
      case TOKEN_CLASSIFICATION -> new TokenObjective(config.outputs());
      case SENTENCE_EMBEDDING -> new ContrastiveObjective();
      case TEXT_GENERATION -> new LanguageObjective(true);
      case TEXT_TO_TEXT -> new LanguageObjective(false);
      case DPO, IPO, ORPO -> new PairObjective(PairLoss.of(config), config.preference());
      case KTO -> new KtoObjective(config.preference());
    };
  }
}
