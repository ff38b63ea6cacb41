package org.sparkpeft.federated.client;

import java.io.Serializable;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.spark.sql.Row;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.federated.config.ModelConfig;
import scala.collection.Iterable;
import scala.jdk.javaapi.CollectionConverters;

/**
 * Turns a row (input, pair, label, client, rejected, task) into a {@link RawExample}; the files of
 * images and recordings are read here. Words of a pre-split text are joined by {@link
 * #WORD_SEPARATOR}.
 */
final class RowReader implements Serializable {
  private static final long serialVersionUID = 1L;

  /** The unit separator: a character that no sensible word holds. */
  static final char WORD_SEPARATOR = '\u001F';

  private final String task;
  private final InputColumn input;
  private final HashMap<String, Integer> indexOfLabel = new HashMap<>();
  private final TaskNames tasks;

  /**
   * @param tasks names of the tasks by number; empty where all is one task
   */
  RowReader(String task, List<String> labels, List<String> tasks, MediaFiles files) {
    this.tasks = new TaskNames(tasks);
    this.task = task;
    this.input = InputColumn.of(task, ModelConfig.isMedia(task) ? files : MediaFiles.NONE);
    for (int i = 0; i < labels.size(); i++) {
      indexOfLabel.put(labels.get(i), i);
    }
  }

  /**
   * @param row columns in the order input, pair, label, client, rejected, task; all but the input
   *     may be null
   * @throws DataException if the input is null or cannot be read, or the label is unknown
   */
  RawExample read(Row row) {
    if (row.isNullAt(0)) {
      throw new DataException(
          input.setting() + ": a row without a value was met; remove such rows or fill them");
    }
    if (ModelConfig.isMedia(task)) {
      return new RawExample("", "", "", input.media(row.get(0)), targets(row, ""), task(row));
    }
    String text = text(row.get(0));
    String pair = row.isNullAt(1) ? "" : text(row.get(1));
    String rejected = row.isNullAt(4) ? "" : text(row.get(4));
    return new RawExample(text, pair, rejected, Media.NONE, targets(row, text), task(row));
  }

  /**
   * An input to predict for.
   *
   * @throws DataException if it cannot be read
   */
  RawExample unlabelled(Object cell) {
    return ModelConfig.isMedia(task)
        ? new RawExample("", "", "", input.media(cell), new RawExample.Targets(), 0)
        : new RawExample(String.valueOf(cell), "", new RawExample.Targets());
  }

  /**
   * An input to predict for, of a task.
   *
   * @throws DataException if it cannot be read, or training had no such task
   */
  RawExample unlabelled(Object cell, Object taskName) {
    return unlabelled(cell).withTask(tasks.number(String.valueOf(taskName)));
  }

  private int task(Row row) {
    return row.isNullAt(5) ? 0 : tasks.number(row.getString(5));
  }

  private RawExample.Targets targets(Row row, String text) {
    return switch (task) {
      case "text-classification", "image-classification", "audio-classification" ->
          new RawExample.Targets(index(row.get(2)));
      case "multi-label-classification" -> {
        float[] hot = new float[indexOfLabel.size()];
        for (String name : strings(row.get(2))) {
          hot[index(name)] = 1;
        }
        yield new RawExample.Targets(hot);
      }
      case "regression" -> new RawExample.Targets(number(row.get(2)));
      case "token-classification" -> {
        List<String> names = strings(row.get(2));
        long words = text.chars().filter(c -> c == WORD_SEPARATOR).count() + 1;
        if (names.size() != words) {
          throw new DataException(
              "data.label: a text of " + words + " words has " + names.size() + " labels");
        }
        float[] indices = new float[names.size()];
        for (int i = 0; i < indices.length; i++) {
          indices[i] = index(names.get(i));
        }
        yield new RawExample.Targets(indices);
      }
      case "sentence-embedding", "text-generation", "text2text-generation", "dpo", "ipo", "orpo" ->
          new RawExample.Targets();
      case "kto" -> new RawExample.Targets(PreferenceRows.desirable(row.get(2)) ? 1 : 0);
      default -> throw new IllegalStateException("no reader for task " + task);
    };
  }

  private int index(Object label) {
    Integer index = indexOfLabel.get(String.valueOf(label));
    if (index == null) {
      throw new DataException(
          "data.label: label \""
              + label
              + "\" does not occur in the training data; the known ones are "
              + first(indexOfLabel));
    }
    return index;
  }

  private static String first(Map<String, Integer> labels) {
    return labels.keySet().stream().sorted().limit(10).toList()
        + (labels.size() > 10 ? " and " + (labels.size() - 10) + " more" : "");
  }

  private static float number(Object label) {
    if (label instanceof Number number && Double.isFinite(number.doubleValue())) {
      return number.floatValue();
    }
    throw new DataException("data.label: regression needs finite numbers, got " + label);
  }

  private static String text(Object value) {
    return value instanceof Iterable<?>
        ? String.join(String.valueOf(WORD_SEPARATOR), strings(value))
        : String.valueOf(value);
  }

  private static List<String> strings(Object value) {
    if (value instanceof Iterable<?> many) {
      return CollectionConverters.asJava(many.toSeq()).stream().map(String::valueOf).toList();
    }
    throw new DataException("data.label: an array of labels was expected, got " + value);
  }
}
