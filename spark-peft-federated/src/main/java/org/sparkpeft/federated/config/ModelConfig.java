package org.sparkpeft.federated.config;

import java.io.Serializable;
import java.util.List;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.WeightForm;
import org.sparkpeft.core.train.PreferenceConfig;

/**
 * The frozen base model and the task it is tuned for.
 *
 * @param path a Hugging Face model directory, or {@code bundled:all-MiniLM-L6-v2}
 * @param task one of {@link #TASKS}
 * @param maxLength tokens kept of a text, special tokens included; of no meaning for images and
 *     sound
 * @param pooling how token vectors become one: {@code auto} (what the model was trained with),
 *     {@code cls} or {@code mean}
 * @param dtype what the frozen base is held in: {@code float32}, {@code bfloat16}, {@code float16}
 *     or {@code nf4}; what is trained is float32
 * @param fuse also write {@code merged/}, the base model with the final adapter folded in
 * @param preference how {@code dpo}, {@code ipo}, {@code orpo} and {@code kto} learn
 */
public record ModelConfig(
    String path,
    String task,
    int maxLength,
    String pooling,
    String dtype,
    boolean fuse,
    PreferenceConfig preference)
    implements Serializable {
  public static final List<String> TASKS =
      List.of(
          "text-classification",
          "image-classification",
          "audio-classification",
          "multi-label-classification",
          "regression",
          "token-classification",
          "sentence-embedding",
          "text-generation",
          "text2text-generation",
          "dpo",
          "ipo",
          "orpo",
          "kto");

  /** Tasks with one class for each example. */
  private static final List<String> ONE_CLASS =
      List.of("text-classification", "image-classification", "audio-classification");

  /** Tasks that predict words. */
  private static final List<String> LANGUAGE = List.of("text-generation", "text2text-generation");

  public ModelConfig {
    Problems problems = new Problems();
    preference.check(problems, "preference.", task, maxLength);
    problems
        .require(!path.isBlank(), "path", "\"" + path + "\"", "must name a model directory")
        .require(TASKS.contains(task), "task", task, "must be one of " + String.join(", ", TASKS))
        .require(
            maxLength >= 2 && maxLength <= 1_000_000,
            "max_length",
            maxLength,
            "must be 2..1000000 tokens; try 64 or 128")
        .require(
            List.of("auto", "cls", "mean").contains(pooling),
            "pooling",
            pooling,
            "must be auto, cls or mean")
        .require(
            WeightForm.names().contains(dtype),
            "dtype",
            dtype,
            "must be one of " + String.join(", ", WeightForm.names()))
        .require(
            !fuse || !dtype.equals("nf4"),
            "fuse",
            fuse,
            "must be false where dtype is nf4: rounding to 4 bits would lose what was trained")
        .throwIfAny();
  }

  /** In float32, with the usual settings where preferences are learnt. */
  public ModelConfig(String path, String task, int maxLength, String pooling, boolean fuse) {
    this(path, task, maxLength, pooling, "float32", fuse, PreferenceConfig.defaults());
  }

  /** What {@code dtype} names. */
  public WeightForm form() {
    return WeightForm.named(dtype);
  }

  public static ModelConfig defaults() {
    return new ModelConfig("bundled:all-MiniLM-L6-v2", "text-classification", 64, "auto", false);
  }

  /** Whether words are predicted. */
  public boolean isLanguage() {
    return isLanguage(task);
  }

  public static boolean isLanguage(String task) {
    return LANGUAGE.contains(task) || isPreference(task);
  }

  /** Whether completions are preferred to others, in {@code data.rejected} or by a label. */
  public static boolean isPreference(String task) {
    return PreferenceConfig.isFor(task);
  }

  /** Whether images or recordings are read, not text. */
  public static boolean isMedia(String task) {
    return task.equals("image-classification") || task.equals("audio-classification");
  }

  /** The recipe's key for the column that the model reads. */
  public static String inputSetting(String task) {
    return switch (task) {
      case "image-classification" -> "data.image";
      case "audio-classification" -> "data.audio";
      default -> "data.text";
    };
  }

  /** Whether every example has exactly one class. */
  public static boolean hasOneClass(String task) {
    return ONE_CLASS.contains(task);
  }

  /** Whether every example has a label of its own. */
  public static boolean hasLabel(String task) {
    return task.equals("kto") || (!isLanguage(task) && !task.equals("sentence-embedding"));
  }

  public ModelConfig withPath(String newPath) {
    return new ModelConfig(newPath, task, maxLength, pooling, dtype, fuse, preference);
  }
}
