package org.sparkpeft.federated.client;

import java.util.Collections;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import org.apache.spark.sql.Column;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.functions;
import org.sparkpeft.core.error.DataException;

/**
 * What must be known of a data set before it is dealt out, in as few passes over it as can be.
 *
 * @param rows number of rows
 * @param labels rows of each label, by name; empty where labels are not classes
 */
record Census(long rows, SortedMap<String, Long> labels) {
  private static final int MAX_CLASSES = 10_000;

  Census {
    labels = Collections.unmodifiableSortedMap(new TreeMap<>(labels));
  }

  /** What a label column holds. */
  enum LabelKind {
    /** There is no label. */
    NONE,
    /** A number. */
    VALUE,
    /** A class. */
    CLASS,
    /** An array of classes. */
    CLASSES
  }

  /**
   * Counts.
   *
   * @param setting the recipe key or option that names the data, for messages
   * @param input the column of text, image or recording, which is there
   * @param label the label column; ignored for {@link LabelKind#NONE}
   * @throws DataException if a column is missing or has nulls, there are no rows, or too many
   *     classes
   */
  static Census take(
      Dataset<Row> data, String setting, String input, String pair, String label, LabelKind kind) {
    if (!pair.isEmpty()) {
      ColumnNames.require(data, "data.text_pair", pair);
    }
    if (kind != LabelKind.NONE) {
      ColumnNames.require(data, "data.label", label);
    }
    Column labels = kind == LabelKind.NONE ? functions.lit("") : column(data, label);
    Column inputNull = column(data, input).isNull().cast("long");
    Column pairNull = pair.isEmpty() ? functions.lit(0L) : column(data, pair).isNull().cast("long");
    Dataset<Row> facts =
        data.select(
            kind == LabelKind.CLASS
                ? labels.cast("string").as("name")
                : functions.lit("").as("name"),
            inputNull.as("input"),
            pairNull.as("pair"),
            labels.isNull().cast("long").as("label"));
    List<Row> groups =
        facts
            .groupBy("name")
            .agg(
                functions.count("input"),
                functions.sum("input"),
                functions.sum("pair"),
                functions.sum("label"))
            .limit(MAX_CLASSES + 1)
            .collectAsList();
    SortedMap<String, Long> counts = new TreeMap<>();
    long rows = 0;
    long[] nulls = new long[3];
    for (Row group : groups) {
      rows += group.getLong(1);
      for (int i = 0; i < nulls.length; i++) {
        nulls[i] += group.getLong(2 + i);
      }
      if (kind == LabelKind.CLASS && !group.isNullAt(0)) {
        counts.put(group.getString(0), group.getLong(1));
      }
    }
    if (rows == 0) {
      throw new DataException(setting + ": there are no rows");
    }
    requireFew(counts.size(), label);
    requireNone(nulls[0], rows, setting, input);
    requireNone(nulls[1], rows, setting, pair);
    requireNone(nulls[2], rows, "data.label", label);
    return new Census(rows, kind == LabelKind.CLASSES ? elements(data, label) : counts);
  }

  private static Column column(Dataset<Row> data, String name) {
    return data.col(ColumnNames.quote(name));
  }

  /** How often each class is in the arrays of a column. */
  private static SortedMap<String, Long> elements(Dataset<Row> data, String label) {
    // A generator such as explode must stand alone in its select.
    List<Row> counts =
        data.select(functions.explode(column(data, label)).as("name"))
            .groupBy(functions.col("name").cast("string"))
            .count()
            .limit(MAX_CLASSES + 1)
            .collectAsList();
    requireFew(counts.size(), label);
    SortedMap<String, Long> found = new TreeMap<>();
    for (Row row : counts) {
      if (row.isNullAt(0)) {
        throw new DataException(
            "data.label: arrays in column \"" + label + "\" hold nulls; remove them");
      }
      found.put(row.getString(0), row.getLong(1));
    }
    return found;
  }

  private static void requireFew(int classes, String label) {
    if (classes > MAX_CLASSES) {
      throw new DataException(
          "data.label: column \""
              + label
              + "\" has more than "
              + MAX_CLASSES
              + " different values; for numbers use model.task: regression, or name the right column");
    }
  }

  private static void requireNone(long nulls, long rows, String setting, String column) {
    if (nulls > 0) {
      throw new DataException(
          setting
              + ": column \""
              + column
              + "\" is null in "
              + nulls
              + " of "
              + rows
              + " rows; fill or remove those rows, or mend lines that could not be read");
    }
  }
}
