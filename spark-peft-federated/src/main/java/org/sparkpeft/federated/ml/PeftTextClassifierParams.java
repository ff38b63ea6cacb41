package org.sparkpeft.federated.ml;

import java.util.List;
import org.apache.spark.ml.param.Param;
import org.apache.spark.ml.param.Params;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructField;
import org.apache.spark.sql.types.StructType;

/** The columns that the estimator and its model share, and their effect on a schema. */
final class PeftTextClassifierParams {
  private PeftTextClassifierParams() {}

  static Param<String> textCol(Params parent) {
    return new Param<>(parent, "textCol", "column with the text");
  }

  static Param<String> labelCol(Params parent) {
    return new Param<>(
        parent, "labelCol", "column with the class index, 0, 1, 2, ..., as StringIndexer makes it");
  }

  static Param<String> taskCol(Params parent) {
    return new Param<>(
        parent,
        "taskCol",
        "column with the name or number of a row's task, for POLY and MTLORA; unset: all rows are"
            + " of the first task");
  }

  static Param<String> predictionCol(Params parent) {
    return new Param<>(
        parent, "predictionCol", "column to write the index of the most likely class to");
  }

  static Param<String> probabilityCol(Params parent) {
    return new Param<>(
        parent, "probabilityCol", "column to write the vector of class probabilities to");
  }

  static Param<String> rawPredictionCol(Params parent) {
    return new Param<>(parent, "rawPredictionCol", "column to write the vector of logits to");
  }

  /**
   * The schema after prediction.
   *
   * @throws IllegalArgumentException if the text column is missing or not text, or an output column
   *     exists
   */
  static StructType withPredictions(
      StructType schema, String text, List<String> vectors, String prediction) {
    requireColumn(schema, "textCol", text);
    if (!schema.apply(text).dataType().equals(DataTypes.StringType)) {
      throw new IllegalArgumentException(
          "textCol: column \""
              + text
              + "\" must hold strings, it holds "
              + schema.apply(text).dataType().simpleString());
    }
    StructType result = schema;
    for (String vector : vectors) {
      requireFree(schema, vector);
      result =
          result.add(
              new StructField(
                  vector,
                  org.apache.spark.ml.linalg.SQLDataTypes.VectorType(),
                  false,
                  org.apache.spark.sql.types.Metadata.empty()));
    }
    requireFree(schema, prediction);
    return result.add(prediction, DataTypes.DoubleType, false);
  }

  static void requireColumn(StructType schema, String param, String column) {
    if (!List.of(schema.fieldNames()).contains(column)) {
      throw new IllegalArgumentException(
          param
              + ": there is no column \""
              + column
              + "\"; the data has "
              + String.join(", ", schema.fieldNames()));
    }
  }

  private static void requireFree(StructType schema, String column) {
    if (List.of(schema.fieldNames()).contains(column)) {
      throw new IllegalArgumentException(
          "output column \"" + column + "\" exists already; name another");
    }
  }
}
