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
    MapPartitionsFunction<Row, Row> predict =
        part -> new RowBatches(part, ROWS_AT_ONCE, predictor(index, reader, adapters));
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

  /** From rows to their logits; loads what that needs once. */
  private static Function<List<Row>, List<?>> predictor(
      int input, RowReader reader, StackedAdapters adapters) {
    ExecutorRuntime runtime = ExecutorRuntime.of(adapters.runtime());
    LocalTrainer trainer = new LocalTrainer(runtime.model(), TrainConfig.defaults());
    AdapterStack stack = adapters.stack();
    return rows -> {
      List<RawExample> examples =
          rows.stream().map(row -> reader.unlabelled(cell(row, input))).toList();
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
