package org.sparkpeft.merge.recipe;

import java.io.Serializable;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.sparkpeft.core.error.Problems;

/**
 * A task that candidates of a search are tried on: a few labelled examples, and the head that
 * answers.
 *
 * @param data validation data: a path Spark can read, or a table name with format {@code table}
 * @param format a Spark data source, as in a recipe's {@code data}
 * @param options options of Spark's reader
 * @param text column of the text
 * @param textPair column of a second text, for {@code sentence-embedding}
 * @param label column of the label
 * @param taskColumn column of the task, for adapters trained with {@code data.task}; empty where
 *     all is the first
 * @param head adapter whose task head and labels are used; empty takes the result's own head, and
 *     what the first adapter says of the task
 * @param labels class names in index order, where the adapter does not know them
 * @param task what is learned, where the adapter does not say
 * @param pooling auto, cls or mean, likewise
 * @param maxLength tokens kept of a text, likewise
 */
public record SearchTask(
    String data,
    String format,
    Map<String, String> options,
    String text,
    String textPair,
    String label,
    String taskColumn,
    String head,
    List<String> labels,
    String task,
    String pooling,
    int maxLength)
    implements Serializable {
  public SearchTask {
    options = Collections.unmodifiableMap(new TreeMap<>(options));
    labels = List.copyOf(labels);
    new Problems()
        .require(
            format.matches("[A-Za-z0-9_.-]+"),
            "format",
            "\"" + format + "\"",
            "must be a Spark data source such as json, csv, parquet, orc, text or table")
        .require(!text.isBlank(), "text", "\"" + text + "\"", "must name a column")
        .throwIfAny();
  }

  /** JSON lines with text and label, for classification. */
  public static SearchTask defaults() {
    return new SearchTask(
        "",
        "json",
        Map.of(),
        "text",
        "",
        "label",
        "",
        "",
        List.of(),
        "text-classification",
        "auto",
        64);
  }

  /** The same, read from elsewhere. */
  public SearchTask withPlaces(String newData, String newHead) {
    return new SearchTask(
        newData,
        format,
        options,
        text,
        textPair,
        label,
        taskColumn,
        newHead,
        labels,
        task,
        pooling,
        maxLength);
  }
}
