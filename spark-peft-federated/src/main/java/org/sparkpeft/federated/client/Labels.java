package org.sparkpeft.federated.client;

import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.spark.sql.Column;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.functions;
import org.sparkpeft.core.error.DataException;

/** The classes of a label column: their names in index order, and how many rows each has. */
final class Labels {
  private static final int MAX_CLASSES = 10_000;

  private Labels() {}

  /**
   * Rows of each label, by name.
   *
   * @param column the label column: one label a row, or an array of labels
   * @throws DataException if there are nulls or too many classes
   */
  static Map<String, Long> count(Dataset<Row> rows, String column, boolean multiLabel) {
    Column label = rows.col(ColumnNames.quote(column));
    long nulls = rows.filter(label.isNull()).count();
    if (nulls > 0) {
      throw new DataException(
          "data.label: column \""
              + column
              + "\" is null in "
              + nulls
              + " of "
              + rows.count()
              + " rows; fill or remove those rows");
    }
    // A generator such as explode must stand alone in its select.
    Dataset<Row> names =
        rows.select((multiLabel ? functions.explode(label) : label).as("name"))
            .select(functions.col("name").cast("string"));
    List<Row> counts = names.groupBy("name").count().limit(MAX_CLASSES + 1).collectAsList();
    if (counts.size() > MAX_CLASSES) {
      throw new DataException(
          "data.label: column \""
              + column
              + "\" has more than "
              + MAX_CLASSES
              + " different values; for numbers use model.task: regression, or name the right column");
    }
    return counts.stream()
        .collect(Collectors.toMap(r -> r.getString(0), r -> r.getLong(1), Long::sum, TreeMap::new));
  }

  /** Names in index order: as numbers when all are whole numbers, else by UTF-8 bytes. */
  static List<String> order(Map<String, Long> counts) {
    boolean numbers = counts.keySet().stream().allMatch(name -> name.matches("-?\\d{1,18}"));
    Comparator<String> order =
        numbers
            ? Comparator.comparingLong(Long::parseLong)
            : org.sparkpeft.core.vector.ParameterLayout.UTF8_ORDER;
    return counts.keySet().stream().sorted(order).toList();
  }
}
