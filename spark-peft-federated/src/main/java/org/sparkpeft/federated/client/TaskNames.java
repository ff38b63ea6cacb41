package org.sparkpeft.federated.client;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.NumericType;
import org.apache.spark.sql.types.StringType;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.peft.PeftConfig;

/** The tasks that a column names, numbered as classes are: the same for every client. */
final class TaskNames implements Serializable {
  private static final long serialVersionUID = 1L;
  private static final String KEY = "data.task";

  private final ArrayList<String> names;
  private final HashMap<String, Integer> numbers = new HashMap<>();

  /**
   * @param names by number; empty where all is one task
   */
  TaskNames(List<String> names) {
    this.names = new ArrayList<>(names);
    for (int number = 0; number < names.size(); number++) {
      numbers.putIfAbsent(names.get(number), number);
    }
  }

  /**
   * The tasks of training data, in the order of their numbers.
   *
   * @param column empty for none
   * @throws ConfigException if there are more than the method tells apart
   * @throws DataException if the column is missing, has nulls or holds neither strings nor numbers
   */
  static List<String> of(Dataset<Row> train, String column, PeftConfig peft) {
    if (column.isEmpty()) {
      return List.of();
    }
    List<String> found = Labels.order(count(train, column));
    int most = peft.taskCount().orElse(0);
    if (found.size() > most) {
      throw new ConfigException(
          KEY,
          "column \"%s\" names %d tasks (%s), peft_type %s has %d; raise peft.n_tasks of POLY, peft.tasks of MTLORA"
              .formatted(column, found.size(), shown(found), peft.peftType(), most));
    }
    return found;
  }

  /**
   * Checks rows that are not trained on.
   *
   * @param column empty for none
   * @throws DataException if the column is missing, has nulls, or names a task that training lacked
   */
  void requireKnown(Dataset<Row> rows, String column) {
    if (!column.isEmpty()) {
      count(rows, column).keySet().forEach(this::number);
    }
  }

  /**
   * The number of a task.
   *
   * @throws DataException if training had no such task
   */
  int number(String name) {
    Integer number = numbers.get(name);
    if (number == null) {
      throw new DataException(
          names.isEmpty()
              ? KEY + ": the adapter was trained without names of tasks; leave the column out"
              : KEY + ": training had no task \"" + name + "\"; it had " + shown(names));
    }
    return number;
  }

  /**
   * @throws DataException if there is no such column, or it holds neither strings nor numbers
   */
  static void requireColumn(Dataset<Row> rows, String column) {
    ColumnNames.require(rows, KEY, column);
    DataType type = rows.schema().apply(column).dataType();
    if (!(type instanceof StringType || type instanceof NumericType)) {
      throw new DataException(
          KEY
              + ": column \""
              + column
              + "\" must hold strings or numbers, it holds "
              + type.simpleString());
    }
  }

  private static SortedMap<String, Long> count(Dataset<Row> rows, String column) {
    requireColumn(rows, column);
    SortedMap<String, Long> counts = new TreeMap<>();
    for (Row row :
        rows.groupBy(rows.col(ColumnNames.quote(column)).cast("string").as("task"))
            .count()
            .limit(Examples.MAX_TASKS + 1)
            .collectAsList()) {
      if (row.isNullAt(0)) {
        throw new DataException(
            "%s: column \"%s\" is null in %d rows; every row needs a task"
                .formatted(KEY, column, row.getLong(1)));
      }
      counts.put(row.getString(0), row.getLong(1));
    }
    if (counts.size() > Examples.MAX_TASKS) {
      throw new DataException(
          "%s: column \"%s\" has more than %d different values; name the column of the task"
              .formatted(KEY, column, Examples.MAX_TASKS));
    }
    return counts;
  }

  private static String shown(List<String> names) {
    return String.join(", ", names.subList(0, Math.min(10, names.size())))
        + (names.size() > 10 ? " and " + (names.size() - 10) + " more" : "");
  }
}
