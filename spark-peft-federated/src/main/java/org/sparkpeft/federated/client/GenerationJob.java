package org.sparkpeft.federated.client;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.TreeMap;
import org.apache.spark.api.java.function.MapPartitionsFunction;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
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
    Work work = new Work(generation, new TreeMap<>(settings), column);
    MapPartitionsFunction<Row, Row> generate = part -> new Batches(part, work);
    return rows.mapPartitions(generate, Encoders.row(schema));
  }

  private record Work(TextGeneration generation, TreeMap<String, Object> settings, int column)
      implements Serializable {}

  private static final class Batches implements Iterator<Row> {
    private final Iterator<Row> rows;
    private final Work work;
    private Iterator<Row> ready = List.<Row>of().iterator();

    Batches(Iterator<Row> rows, Work work) {
      this.rows = rows;
      this.work = work;
    }

    @Override
    public boolean hasNext() {
      return ready.hasNext() || rows.hasNext();
    }

    @Override
    public Row next() {
      if (!ready.hasNext()) {
        ready = generate();
      }
      return ready.next();
    }

    private Iterator<Row> generate() {
      List<Row> batch = new ArrayList<>();
      List<String> texts = new ArrayList<>();
      while (rows.hasNext() && batch.size() < ROWS_AT_ONCE) {
        Row row = rows.next();
        batch.add(row);
        if (!row.isNullAt(work.column)) {
          texts.add(row.getString(work.column));
        }
      }
      if (batch.isEmpty()) {
        throw new NoSuchElementException();
      }
      Iterator<List<String>> found = work.generation.continuations(texts, work.settings).iterator();
      List<Row> results = new ArrayList<>(batch.size());
      for (Row row : batch) {
        Object[] cells = new Object[row.length() + 1];
        for (int c = 0; c < row.length(); c++) {
          cells[c] = row.get(c);
        }
        cells[row.length()] =
            row.isNullAt(work.column) ? null : found.next().toArray(new String[0]);
        results.add(RowFactory.create(cells));
      }
      return results.iterator();
    }
  }
}
