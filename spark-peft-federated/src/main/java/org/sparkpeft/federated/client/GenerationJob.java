package org.sparkpeft.federated.client;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.spark.api.java.function.MapPartitionsFunction;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.error.DataException;

/** Continues the text of every row of a DataFrame, on the executors, in batches of rows. */
public final class GenerationJob {
  private static final int ROWS_AT_ONCE = 64;

  private GenerationJob() {}

  /**
   * Adds the continuations as a column.
   *
   * @param text column with what to continue; of an encoder-decoder, what to read
   * @param settings of {@code generation_config.json}, in place of the model's own
   * @param output name of the new column, an array of strings: {@code num_return_sequences} texts
   *     without the prompt; null where the prompt is null
   * @throws DataException if the column is missing or not text
   */
  public static Dataset<Row> withContinuations(
      Dataset<Row> rows,
      String text,
      TextGeneration generation,
      Map<String, ?> settings,
      String output) {
    return withContinuations(rows, text, "", generation, settings, output);
  }

  /**
   * The same with texts of several tasks.
   *
   * @param taskColumn column with the name of the task, empty where all is the first task
   * @throws DataException if a column is missing or of another type; a task that training lacked is
   *     met on the executors
   */
  public static Dataset<Row> withContinuations(
      Dataset<Row> rows,
      String text,
      String taskColumn,
      TextGeneration generation,
      Map<String, ?> settings,
      String output) {
    ColumnNames.require(rows, "text column", text);
    if (!taskColumn.isEmpty()) {
      TaskNames.requireColumn(rows, taskColumn);
    }
    int task = taskColumn.isEmpty() ? -1 : rows.schema().fieldIndex(taskColumn);
    int column = rows.schema().fieldIndex(text);
    if (!rows.schema().fields()[column].dataType().equals(DataTypes.StringType)) {
      throw new DataException(
          "column \""
              + text
              + "\" must hold strings, it holds "
              + rows.schema().fields()[column].dataType().simpleString());
    }
    if (List.of(rows.schema().fieldNames()).contains(output)) {
      throw new DataException(
          "the data has a column \"" + output + "\" already; rename it, or name another output");
    }
    StructType schema =
        rows.schema().add(output, DataTypes.createArrayType(DataTypes.StringType, false), true);
    TreeMap<String, Object> chosen = new TreeMap<>(settings);
    MapPartitionsFunction<Row, Row> generate =
        part ->
            new RowBatches(
                part, ROWS_AT_ONCE, some -> found(some, column, task, generation, chosen));
    return rows.mapPartitions(generate, Encoders.row(schema));
  }

  private static List<@Nullable Object> found(
      List<Row> rows,
      int column,
      int task,
      TextGeneration generation,
      Map<String, Object> settings) {
    Map<String, List<Integer>> byTask = new TreeMap<>();
    for (int i = 0; i < rows.size(); i++) {
      if (!rows.get(i).isNullAt(column)) {
        String name = task < 0 ? "" : String.valueOf(rows.get(i).get(task));
        byTask.computeIfAbsent(name, one -> new ArrayList<>()).add(i);
      }
    }
    @Nullable Object[] cells = new @Nullable Object[rows.size()];
    byTask.forEach(
        (name, places) -> {
          TextGeneration own = task < 0 ? generation : generation.ofTask(name);
          List<String> texts = places.stream().map(i -> rows.get(i).getString(column)).toList();
          Iterator<List<String>> found = own.continuations(texts, settings).iterator();
          places.forEach(i -> cells[i] = found.next().toArray(new String[0]));
        });
    return Arrays.asList(cells);
  }
}
