package org.sparkpeft.federated.client;

import java.util.ArrayList;
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
    ColumnNames.require(rows, "text column", text);
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
        part -> new RowBatches(part, ROWS_AT_ONCE, some -> found(some, column, generation, chosen));
    return rows.mapPartitions(generate, Encoders.row(schema));
  }

  private static List<@Nullable Object> found(
      List<Row> rows, int column, TextGeneration generation, Map<String, Object> settings) {
    List<String> texts =
        rows.stream()
            .filter(row -> !row.isNullAt(column))
            .map(row -> row.getString(column))
            .toList();
    Iterator<List<String>> found = generation.continuations(texts, settings).iterator();
    List<@Nullable Object> cells = new ArrayList<>();
    for (Row row : rows) {
      cells.add(row.isNullAt(column) ? null : found.next().toArray(new String[0]));
    }
    return cells;
  }
}
