package org.sparkpeft.federated.config;

import java.io.Serializable;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.sparkpeft.core.error.Problems;

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
    List<String> labels)
    implements Serializable {
  /** Format under which {@code train} and {@code test} are names of tables, not of files. */
  public static final String TABLE = "table";

  public DataConfig {
    options = Collections.unmodifiableMap(new TreeMap<>(options));
    labels = List.copyOf(labels);
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
        List.of());
  }

  /** The column that a task's model reads. */
  public String input(String task) {
    return switch (task) {
      case "image-classification" -> image;
      case "audio-classification" -> audio;
      default -> text;
    };
  }

  public DataConfig withPaths(String newTrain, String newTest) {
    return new DataConfig(
        newTrain, newTest, format, options, text, textPair, rejected, image, audio, label, labels);
  }
}
