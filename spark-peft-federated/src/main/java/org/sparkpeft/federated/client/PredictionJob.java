package org.sparkpeft.federated.client;

import java.util.Arrays;
import java.util.List;
import java.util.function.Function;
import org.apache.spark.api.java.function.MapPartitionsFunction;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.Row;
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
   * @param taskColumn column with the name of the task, empty where all is the first task
   * @param output name of the new column, an array of doubles: one logit for each class, one
   *     regression value, or an embedding
   * @throws DataException if a column is missing or of another type; a task that training lacked is
   *     met on the executors
   */
  public static Dataset<Row> withLogits(
      Dataset<Row> rows,
      String input,
      String taskColumn,
      RuntimeSpec runtime,
      ParameterVector parameters,
      String output) {
    StackedAdapters one = StackedAdapters.of(runtime, parameters);
    return withLogits(
        rows, input, taskColumn, MediaFiles.absolute(rows.sparkSession()), one, output);
  }

  /** The same with several adapters on top of each other, all rows of the first task. */
  public static Dataset<Row> withLogits(
      Dataset<Row> rows, String input, StackedAdapters adapters, String output) {
    return withLogits(rows, input, "", MediaFiles.absolute(rows.sparkSession()), adapters, output);
  }

  /**
   * The same with paths of images or recordings that may be relative.
   *
   * @param files opens them
   */
  public static Dataset<Row> withLogits(
      Dataset<Row> rows,
      String input,
      String taskColumn,
      MediaFiles files,
      StackedAdapters adapters,
      String output) {
    String task = adapters.runtime().task().task();
    InputColumn.require(rows, task, input);
    if (!taskColumn.isEmpty()) {
      TaskNames.requireColumn(rows, taskColumn);
    }
    RowReader reader = new RowReader(task, List.of(), adapters.runtime().tasks(), files);
    int taskIndex = taskColumn.isEmpty() ? -1 : rows.schema().fieldIndex(taskColumn);
    StructType schema =
        rows.schema().add(output, DataTypes.createArrayType(DataTypes.DoubleType, false), false);
    int index = rows.schema().fieldIndex(input);
    MapPartitionsFunction<Row, Row> predict =
        part -> new RowBatches(part, ROWS_AT_ONCE, predictor(index, taskIndex, reader, adapters));
    return rows.mapPartitions(predict, Encoders.row(schema));
  }

  /** The logits of a few texts, of the first task where there are several, in this process. */
  public static float[][] logits(List<String> texts, StackedAdapters adapters) {
    return logits(texts, "", adapters);
  }

  /**
   * The logits of a few texts of one task, in this process.
   *
   * @param taskName name of the task; empty for the first
   * @throws DataException if training had no such task
   */
  public static float[][] logits(List<String> texts, String taskName, StackedAdapters adapters) {
    ExecutorRuntime.of(adapters.runtime()).textEncoder(); // refuses a model of something else
    return logits(texts, taskName, MediaFiles.NONE, adapters);
  }

  /**
   * The logits of a few images or recordings of one task, in this process.
   *
   * @param paths where they are
   * @param taskName name of the task; empty for the first
   * @throws DataException if one cannot be read, or training had no such task
   */
  public static float[][] logitsOfFiles(
      SparkSession spark, List<String> paths, String taskName, StackedAdapters adapters) {
    if (!ModelConfig.isMedia(adapters.runtime().task().task())) {
      throw new ConfigException(
          "--file", "is for images and sound; this model reads text, give --text");
    }
    return logits(paths, taskName, MediaFiles.absolute(spark), adapters);
  }

  private static float[][] logits(
      List<String> inputs, String taskName, MediaFiles files, StackedAdapters adapters) {
    ExecutorRuntime runtime = ExecutorRuntime.of(adapters.runtime());
    String task = runtime.model().task().task();
    RowReader reader = new RowReader(task, List.of(), adapters.runtime().tasks(), files);
    List<RawExample> examples =
        inputs.stream()
            .map(
                input ->
                    taskName.isEmpty()
                        ? reader.unlabelled(input)
                        : reader.unlabelled(input, taskName))
            .toList();
    return new LocalTrainer(runtime.model(), TrainConfig.defaults())
        .logits(adapters.stack(), runtime.encoder().unlabelled(examples));
  }

  /** From rows to their logits; loads what that needs once. */
  private static Function<List<Row>, List<?>> predictor(
      int input, int task, RowReader reader, StackedAdapters adapters) {
    ExecutorRuntime runtime = ExecutorRuntime.of(adapters.runtime());
    LocalTrainer trainer = new LocalTrainer(runtime.model(), TrainConfig.defaults());
    AdapterStack stack = adapters.stack();
    return rows -> {
      List<RawExample> examples =
          rows.stream()
              .map(
                  row ->
                      task < 0
                          ? reader.unlabelled(cell(row, input))
                          : reader.unlabelled(cell(row, input), cell(row, task)))
              .toList();
      float[][] logits = trainer.logits(stack, runtime.encoder().unlabelled(examples));
      return Arrays.stream(logits).map(PredictionJob::wide).toList();
    };
  }

  private static double[] wide(float[] values) {
    double[] wide = new double[values.length];
    Arrays.setAll(wide, i -> values[i]);
    return wide;
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
