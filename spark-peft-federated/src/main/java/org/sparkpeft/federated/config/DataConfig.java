package org.sparkpeft.federated.config;

import java.io.Serializable;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.text.ChatTemplate;

/**
 * Where the examples are and which columns matter.
 *
 * @param train training data: a path Spark can read, or a table name with format {@code table}
 * @param test test data, likewise; empty means that nothing is evaluated on test data
 * @param format a Spark data source such as {@code json}, {@code csv}, {@code parquet}, {@code
 *     orc}, {@code text}, or {@code table} for a table of the catalog
 * @param options options of Spark's reader, for example {@code header: true}
 * @param text column of the text
 * @param textPair column of a second text: the partner of a pair, or what to say after the first,
 *     which of preferences is the chosen completion; empty when there is none
 * @param rejected column of the rejected completion, for {@code dpo}, {@code ipo} and {@code orpo}
 * @param image column of the image, for {@code image-classification}: bytes of a PNG or JPEG file,
 *     a path, Spark's image struct, or a struct of {@code bytes} and {@code path}
 * @param audio column of the recording, for {@code audio-classification}: bytes of a WAV file, a
 *     path, or a struct of both
 * @param label column of the label; may be empty for {@code sentence-embedding}; for {@code kto},
 *     true or false
 * @param labels class names in index order; empty means the sorted distinct labels of the training
 *     data
 * @param task column with the name or number of an example's task, for {@code POLY} and {@code
 *     MTLORA}: the sorted distinct values of the training data are the tasks, the first one number
 *     0, at most as many as the method has; empty means that all examples are of task 0
 * @param targetTokenizer a {@code tokenizer.json} for {@code text_pair}, for {@code
 *     text2text-generation} where the decoder's alphabet is not the encoder's; empty for the
 *     model's own
 * @param formatting layout of the rows of {@code text-generation} and {@code text2text-generation}:
 *     {@code columns} ({@code text} and {@code text_pair}), {@code alpaca} (instruction, input,
 *     output, in Stanford Alpaca's prompt), {@code prompt-completion} (prompt, completion), {@code
 *     messages} (a list of role and content), {@code sharegpt} (conversations, a list of from and
 *     value); {@code text} is {@code columns} without {@code text_pair}
 * @param columns names of the columns and fields of the layout, where they are not as above
 * @param chatTemplate how {@code messages} and {@code sharegpt} become text: {@code auto}, the
 *     model's own or Zephyr's, or one of {@link ChatTemplate#names}
 * @param trainOnPrompt whether prompts are learnt too; else replies alone, all of them
 * @param packing whether short texts of a client share sequences of up to {@code model.max_length}
 *     tokens, without seeing each other, for {@code text-generation} with a decoder; {@code
 *     train.batch_size} then counts sequences
 */
public record DataConfig(
    String train,
    String test,
    String format,
    Map<String, String> options,
    String text,
    String textPair,
    String rejected,
    String image,
    String audio,
    String label,
    List<String> labels,
    String task,
    String targetTokenizer,
    String formatting,
    Map<String, String> columns,
    String chatTemplate,
    boolean trainOnPrompt,
    boolean packing)
    implements Serializable {
  /** Format under which {@code train} and {@code test} are names of tables, not of files. */
  public static final String TABLE = "table";

  /** The chat template of the model. */
  public static final String AUTO_TEMPLATE = "auto";

  /** Rows whose texts are in {@code text} and {@code text_pair}. */
  public static final String COLUMNS = "columns";

  /** Column that rows of other layouts get, with all their texts. */
  public static final String TURNS = "spark_peft_turns";

  /** Layouts, and the names of their columns and fields. */
  private static final Map<String, List<String>> LAYOUTS =
      Map.of(
          COLUMNS,
          List.of(),
          "text",
          List.of(),
          "alpaca",
          List.of("instruction", "input", "output"),
          "prompt-completion",
          List.of("prompt", "completion"),
          "messages",
          List.of("messages", "role", "content"),
          "sharegpt",
          List.of("conversations", "from", "value"));

  public DataConfig {
    options = Collections.unmodifiableMap(new TreeMap<>(options));
    labels = List.copyOf(labels);
    columns = Collections.unmodifiableMap(new TreeMap<>(columns));
    List<String> known = LAYOUTS.getOrDefault(formatting, List.of());
    boolean layout = LAYOUTS.containsKey(formatting);
    boolean turns = layout && !known.isEmpty();
    new Problems()
        .require(!train.isBlank(), "train", "\"" + train + "\"", "must name the training data")
        .require(
            format.matches("[A-Za-z0-9_.-]+"),
            "format",
            "\"" + format + "\"",
            "must be a Spark data source such as json, csv, parquet, orc, text or table")
        .require(!text.isBlank(), "text", "\"" + text + "\"", "must name a column")
        .require(!image.isBlank(), "image", "\"" + image + "\"", "must name a column")
        .require(!audio.isBlank(), "audio", "\"" + audio + "\"", "must name a column")
        .require(
            textPair.isEmpty() || !textPair.equals(text),
            "text_pair",
            textPair,
            "must differ from text")
        .require(
            rejected.isEmpty() || (!rejected.equals(text) && !rejected.equals(textPair)),
            "rejected",
            rejected,
            "must differ from text and text_pair")
        .require(
            labels.stream().distinct().count() == labels.size(),
            "labels",
            labels,
            "must not repeat a name")
        .require(
            layout,
            "formatting",
            formatting,
            "must be one of " + String.join(", ", new TreeSet<>(LAYOUTS.keySet())))
        .require(
            !layout || known.containsAll(columns.keySet()),
            "columns",
            columns,
            known.isEmpty()
                ? "formatting " + formatting + " has its columns in text and text_pair"
                : "formatting " + formatting + " has " + String.join(", ", known))
        .require(
            !turns && !formatting.equals("text") || textPair.isEmpty(),
            "text_pair",
            textPair,
            "is for formatting columns, got " + formatting)
        .require(
            chatTemplate.equals(AUTO_TEMPLATE) || ChatTemplate.named(chatTemplate).isPresent(),
            "chat_template",
            chatTemplate,
            "must be auto, " + String.join(", ", ChatTemplate.names()))
        .throwIfAny();
  }

  public static DataConfig defaults() {
    return new DataConfig(
        "train.jsonl",
        "test.jsonl",
        "json",
        Map.of(),
        "text",
        "",
        "",
        "image",
        "audio",
        "label",
        List.of(),
        "",
        "",
        COLUMNS,
        Map.of(),
        AUTO_TEMPLATE,
        false,
        false);
  }

  /** Whether rows have prompts and replies in a layout of their own. */
  public boolean hasTurns() {
    return !LAYOUTS.getOrDefault(formatting, List.of()).isEmpty();
  }

  /** The name of a column or field of the layout. */
  public String column(String of) {
    return columns.getOrDefault(of, of);
  }

  /** The column that a task's model reads. */
  public String input(String task) {
    if (hasTurns()) {
      return TURNS;
    }
    return switch (task) {
      case "image-classification" -> image;
      case "audio-classification" -> audio;
      default -> text;
    };
  }

  public DataConfig withPaths(String newTrain, String newTest) {
    return with(newTrain, newTest, targetTokenizer);
  }

  public DataConfig withTargetTokenizer(String file) {
    return with(train, test, file);
  }

  private DataConfig with(String newTrain, String newTest, String newTokenizer) {
    return new DataConfig(
        newTrain,
        newTest,
        format,
        options,
        text,
        textPair,
        rejected,
        image,
        audio,
        label,
        labels,
        task,
        newTokenizer,
        formatting,
        columns,
        chatTemplate,
        trainOnPrompt,
        packing);
  }
}
