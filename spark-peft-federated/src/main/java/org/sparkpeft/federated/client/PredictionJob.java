package org.sparkpeft.federated.client;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import org.apache.spark.api.java.function.MapPartitionsFunction;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.train.AdapterStack;
import org.sparkpeft.core.train.LocalTrainer;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.federated.config.ModelConfig;

/** Predicts for every row of a DataFrame, on the executors, in batches of rows of a partition. */
public final class PredictionJob {
  private static final int ROWS_AT_ONCE = 256;

  private PredictionJob() {}

  /**
   * Adds the logits as a column.
   *
   * @param input column with the text, image or recording
   * @param output name of the new column, an array of doubles: one logit for each class, one
   *     regression value, or an embedding
   */
  public static Dataset<Row> withLogits(
      Dataset<Row> rows,
      String input,
      RuntimeSpec runtime,
      ParameterVector parameters,
      String output) {
    return withLogits(rows, input, StackedAdapters.of(runtime, parameters), output);
  }

  /** The same with several adapters on top of each other. */
  public static Dataset<Row> withLogits(
      Dataset<Row> rows, String input, StackedAdapters adapters, String output) {
    return withLogits(rows, input, MediaFiles.absolute(rows.sparkSession()), adapters, output);
  }

  /**
   * The same with paths of images or recordings that may be relative.
   *
   * @param files opens them
   */
  public static Dataset<Row> withLogits(
      Dataset<Row> rows, String input, MediaFiles files, StackedAdapters adapters, String output) {
    String task = adapters.runtime().task().task();
    InputColumn.require(rows, task, input);
    RowReader reader = new RowReader(task, List.of(), files);
    StructType schema =
        rows.schema().add(output, DataTypes.createArrayType(DataTypes.DoubleType, false), false);
    int index = rows.schema().fieldIndex(input);
    MapPartitionsFunction<Row, Row> predict = part -> new Batches(part, index, reader, adapters);
    return rows.mapPartitions(predict, Encoders.row(schema));
  }

  /** The logits of a few texts, in this process. */
  public static float[][] logits(List<String> texts, StackedAdapters adapters) {
    ExecutorRuntime.of(adapters.runtime()).textEncoder(); // refuses a model of something else
    return logits(texts, MediaFiles.NONE, adapters);
  }

  /**
   * The logits of a few images or recordings, in this process.
   *
   * @param paths where they are
   */
  public static float[][] logitsOfFiles(
      SparkSession spark, List<String> paths, StackedAdapters adapters) {
    if (!ModelConfig.isMedia(adapters.runtime().task().task())) {
      throw new ConfigException(
          "--file", "is for images and sound; this model reads text, give --text");
    }
    return logits(paths, MediaFiles.absolute(spark), adapters);
  }

  private static float[][] logits(List<String> inputs, MediaFiles files, StackedAdapters adapters) {
    ExecutorRuntime runtime = ExecutorRuntime.of(adapters.runtime());
    RowReader reader = new RowReader(runtime.model().task().task(), List.of(), files);
    return new LocalTrainer(runtime.model(), TrainConfig.defaults())
        .logits(
            adapters.stack(),
            runtime.encoder().unlabelled(inputs.stream().map(reader::unlabelled).toList()));
  }

  private static final class Batches implements Iterator<Row> {
    private final Iterator<Row> rows;
    private final int input;
    private final RowReader reader;
    private final ExecutorRuntime runtime;
    private final LocalTrainer trainer;
    private final AdapterStack adapters;
    private Iterator<Row> ready = List.<Row>of().iterator();

    Batches(Iterator<Row> rows, int input, RowReader reader, StackedAdapters adapters) {
      this.rows = rows;
      this.input = input;
      this.reader = reader;
      this.runtime = ExecutorRuntime.of(adapters.runtime());
      this.trainer = new LocalTrainer(runtime.model(), TrainConfig.defaults());
      this.adapters = adapters.stack();
    }

    @Override
    public boolean hasNext() {
      return ready.hasNext() || rows.hasNext();
    }

    @Override
    public Row next() {
      if (!ready.hasNext()) {
        ready = predict();
      }
      return ready.next();
    }

    private Iterator<Row> predict() {
      List<Row> batch = new ArrayList<>();
      List<RawExample> examples = new ArrayList<>();
      while (rows.hasNext() && batch.size() < ROWS_AT_ONCE) {
        Row row = rows.next();
        batch.add(row);
        examples.add(reader.unlabelled(cell(row, input)));
      }
      if (batch.isEmpty()) {
        throw new NoSuchElementException();
      }
      float[][] logits = trainer.logits(adapters, runtime.encoder().unlabelled(examples));
      List<Row> results = new ArrayList<>(batch.size());
      for (int i = 0; i < logits.length; i++) {
        Row row = batch.get(i);
        Object[] cells = new Object[row.length() + 1];
        for (int c = 0; c < row.length(); c++) {
          cells[c] = row.get(c);
        }
        float[] example = logits[i];
        double[] wide = new double[example.length];
        Arrays.setAll(wide, c -> example[c]);
        cells[row.length()] = wide;
        results.add(RowFactory.create(cells));
      }
      return results.iterator();
    }

    private static Object cell(Row row, int column) {
      if (row.isNullAt(column)) {
        throw new DataException(
            "column \""
                + row.schema().fieldNames()[column]
                + "\" is null in a row to predict; fill or remove it");
      }
      return row.get(column);
    }
  }
}
