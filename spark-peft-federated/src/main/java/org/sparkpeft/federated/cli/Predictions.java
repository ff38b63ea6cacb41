package org.sparkpeft.federated.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.apache.spark.api.java.function.MapFunction;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.SaveMode;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.federated.client.PredictionJob;
import org.sparkpeft.federated.client.StackedAdapters;

/** What an adapter says about texts, images or recordings, for the terminal and for files. */
final class Predictions {
  static final String LOGITS = "logits";

  private final StackedAdapters adapter;
  private final TaskConfig task;

  Predictions(StackedAdapters adapter) {
    this.adapter = adapter;
    this.task = adapter.runtime().task();
  }

  /**
   * One line a text: label and probability, or the value.
   *
   * @param taskName name of their task; empty for the first
   */
  Outcome ofTexts(List<String> texts, String taskName) {
    return of("text", texts, PredictionJob.logits(texts, taskName, adapter));
  }

  /** The same for files of images or sound. */
  Outcome ofFiles(SparkSession spark, List<String> files, String taskName) {
    return of("file", files, PredictionJob.logitsOfFiles(spark, files, taskName, adapter));
  }

  private Outcome of(String what, List<String> inputs, float[][] logits) {
    List<Map<String, Object>> rows = new ArrayList<>();
    List<String> lines = new ArrayList<>();
    for (int i = 0; i < inputs.size(); i++) {
      double[] wide = new double[logits[i].length];
      for (int c = 0; c < wide.length; c++) {
        wide[c] = logits[i][c];
      }
      Scored scored = Scored.of(wide, task);
      SortedMap<String, Object> row = new TreeMap<>();
      row.put(what, inputs.get(i));
      row.put("prediction", scored.prediction());
      row.put("score", scored.score());
      rows.add(row);
      lines.add(
          String.format(
              Locale.ROOT, "%-24s %.4f  %s", scored.prediction(), scored.score(), inputs.get(i)));
    }
    return Outcome.of(String.join(System.lineSeparator(), lines), Map.of("predictions", rows));
  }

  /**
   * Rows with {@code prediction} and {@code score} in place of the logits, written as JSON lines or
   * by the ending of {@code out}.
   */
  Outcome ofRows(Dataset<Row> withLogits, String out) {
    StructType schema =
        new StructType()
            .add("prediction", DataTypes.StringType, false)
            .add("score", DataTypes.DoubleType, false);
    StructType all = withLogits.drop(LOGITS).schema();
    for (var field : schema.fields()) {
      if (List.of(all.fieldNames()).contains(field.name())) {
        throw new ConfigException(
            "--data", "the data has a column \"" + field.name() + "\" already; rename it");
      }
      all = all.add(field);
    }
    TaskConfig captured = task;
    int logits = withLogits.schema().fieldIndex(LOGITS);
    MapFunction<Row, Row> score = row -> scored(row, logits, captured);
    String format = write(withLogits.map(score, Encoders.row(all)), out);
    return Outcome.of(
        "predictions written to " + out + " as " + format, Map.of("out", out, "format", format));
  }

  /** Writes rows as Parquet, CSV or JSON lines, by the ending of {@code out}; says as which. */
  static String write(Dataset<Row> rows, String out) {
    String format = out.endsWith(".parquet") ? "parquet" : out.endsWith(".csv") ? "csv" : "json";
    rows.write().mode(SaveMode.ErrorIfExists).option("header", true).format(format).save(out);
    return format;
  }

  private static Row scored(Row row, int logits, TaskConfig task) {
    Scored scored = Scored.of(doubles(row, logits), task);
    Object[] cells = new Object[row.length() + 1];
    for (int c = 0; c < logits; c++) {
      cells[c] = row.get(c);
    }
    cells[logits] = scored.prediction();
    cells[logits + 1] = scored.score();
    return RowFactory.create(cells);
  }

  /** An array column: as it was put in where Spark hands the row on as it is, else a sequence. */
  private static double[] doubles(Row row, int column) {
    if (row.get(column) instanceof double[] values) {
      return values;
    }
    List<Double> values = row.getList(column);
    return values.stream().mapToDouble(Double::doubleValue).toArray();
  }

  /**
   * What the logits of one example mean.
   *
   * @param prediction label; for several labels those above one half, joined by commas; for
   *     regression the value
   * @param score probability of the label, or of the least likely of several; for regression the
   *     value
   */
  record Scored(String prediction, double score) {

    static Scored of(double[] logits, TaskConfig task) {
      return switch (task.task()) {
        case "text-classification", "image-classification", "audio-classification" ->
            best(logits, task.labels());
        case "multi-label-classification" -> above(logits, task.labels());
        case "regression" -> new Scored(String.format(Locale.ROOT, "%.6g", logits[0]), logits[0]);
        default ->
            throw new ConfigException(
                "predict",
                "is for classification and regression; the adapter's task is " + task.task());
      };
    }

    private static Scored best(double[] logits, List<String> labels) {
      int best = 0;
      for (int c = 1; c < logits.length; c++) {
        if (logits[c] > logits[best]) {
          best = c;
        }
      }
      double sum = 0;
      for (double logit : logits) {
        sum += Math.exp(logit - logits[best]);
      }
      return new Scored(labels.get(best), 1 / sum);
    }

    private static Scored above(double[] logits, List<String> labels) {
      List<String> names = new ArrayList<>();
      double least = 1;
      for (int c = 0; c < logits.length; c++) {
        double probability = 1 / (1 + Math.exp(-logits[c]));
        if (probability > 0.5) {
          names.add(labels.get(c));
          least = Math.min(least, probability);
        }
      }
      return new Scored(String.join(",", names), names.isEmpty() ? 0 : least);
    }
  }
}
