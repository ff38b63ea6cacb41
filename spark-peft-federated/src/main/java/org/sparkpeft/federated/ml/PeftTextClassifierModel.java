package org.sparkpeft.federated.ml;

import java.util.List;
import org.apache.spark.ml.Model;
import org.apache.spark.ml.functions;
import org.apache.spark.ml.param.Param;
import org.apache.spark.ml.param.ParamMap;
import org.apache.spark.ml.util.MLReader;
import org.apache.spark.ml.util.MLWritable;
import org.apache.spark.ml.util.MLWriter;
import org.apache.spark.sql.Column;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.types.StructType;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.federated.client.PredictionJob;
import org.sparkpeft.federated.client.RuntimeSpec;

/**
 * A fine-tuned text classifier: the adapter, and where its base model is. {@code transform} adds a
 * vector of logits, a vector of probabilities and the index of the most likely class, as MLlib's
 * evaluators expect them.
 */
public final class PeftTextClassifierModel extends Model<PeftTextClassifierModel>
    implements MLWritable {
  private static final long serialVersionUID = 1L;

  private final String uid;
  private final transient RuntimeSpec runtime;
  private final transient ParameterVector parameters;
  private final Param<String> textCol;
  private final Param<String> labelCol;
  private final Param<String> taskCol;
  private final Param<String> predictionCol;
  private final Param<String> probabilityCol;
  private final Param<String> rawPredictionCol;

  PeftTextClassifierModel(String uid, RuntimeSpec runtime, ParameterVector parameters) {
    this.uid = uid;
    this.runtime = runtime;
    this.parameters = parameters;
    textCol = PeftTextClassifierParams.textCol(this);
    labelCol = PeftTextClassifierParams.labelCol(this);
    taskCol = PeftTextClassifierParams.taskCol(this);
    predictionCol = PeftTextClassifierParams.predictionCol(this);
    probabilityCol = PeftTextClassifierParams.probabilityCol(this);
    rawPredictionCol = PeftTextClassifierParams.rawPredictionCol(this);
    setDefault(textCol, "text");
    setDefault(labelCol, "label");
    setDefault(predictionCol, "prediction");
    setDefault(probabilityCol, "probability");
    setDefault(rawPredictionCol, "rawPrediction");
  }

  @Override
  public String uid() {
    return uid;
  }

  public Param<String> textCol() {
    return textCol;
  }

  public Param<String> labelCol() {
    return labelCol;
  }

  public Param<String> taskCol() {
    return taskCol;
  }

  public Param<String> predictionCol() {
    return predictionCol;
  }

  public Param<String> probabilityCol() {
    return probabilityCol;
  }

  public Param<String> rawPredictionCol() {
    return rawPredictionCol;
  }

  public PeftTextClassifierModel setTextCol(String value) {
    return (PeftTextClassifierModel) set(textCol, value);
  }

  public PeftTextClassifierModel setTaskCol(String value) {
    return (PeftTextClassifierModel) set(taskCol, value);
  }

  public PeftTextClassifierModel setPredictionCol(String value) {
    return (PeftTextClassifierModel) set(predictionCol, value);
  }

  public PeftTextClassifierModel setProbabilityCol(String value) {
    return (PeftTextClassifierModel) set(probabilityCol, value);
  }

  public PeftTextClassifierModel setRawPredictionCol(String value) {
    return (PeftTextClassifierModel) set(rawPredictionCol, value);
  }

  /** Number of classes. */
  public int numClasses() {
    return runtime.task().labels().size();
  }

  /** Where the frozen base model is. */
  public String modelPath() {
    return runtime.model();
  }

  RuntimeSpec runtime() {
    return runtime;
  }

  ParameterVector parameters() {
    return parameters;
  }

  @Override
  public Dataset<Row> transform(Dataset<?> dataset) {
    StructType schema = transformSchema(dataset.schema());
    String logits = uid + "_logits";
    Dataset<Row> predicted =
        PredictionJob.withLogits(
            dataset.toDF(),
            getOrDefault(textCol),
            get(taskCol).isDefined() ? getOrDefault(taskCol) : "",
            runtime,
            parameters,
            logits);
    Column values = predicted.col(logits);
    // exp(x - max) keeps large logits finite; index of the largest logit, the first one of equals.
    Column shifted =
        org.apache.spark.sql.functions.transform(
            values,
            x ->
                org.apache.spark.sql.functions.exp(
                    x.minus(org.apache.spark.sql.functions.array_max(values))));
    Column sum =
        org.apache.spark.sql.functions.aggregate(
            shifted, org.apache.spark.sql.functions.lit(0.0), (a, x) -> a.plus(x));
    Column probabilities = org.apache.spark.sql.functions.transform(shifted, x -> x.divide(sum));
    Column best =
        org.apache
            .spark
            .sql
            .functions
            .array_position(values, org.apache.spark.sql.functions.array_max(values))
            .minus(1)
            .cast("double");
    Dataset<Row> result =
        predicted
            .withColumn(getOrDefault(rawPredictionCol), functions.array_to_vector(values))
            .withColumn(getOrDefault(probabilityCol), functions.array_to_vector(probabilities))
            .withColumn(getOrDefault(predictionCol), best)
            .drop(logits);
    return result.select(
        java.util.Arrays.stream(schema.fieldNames())
            .map(name -> result.col("`" + name.replace("`", "``") + "`"))
            .toArray(Column[]::new));
  }

  @Override
  public StructType transformSchema(StructType schema) {
    if (get(taskCol).isDefined()) {
      PeftTextClassifierParams.requireColumn(schema, "taskCol", getOrDefault(taskCol));
    }
    return PeftTextClassifierParams.withPredictions(
        schema,
        getOrDefault(textCol),
        List.of(getOrDefault(rawPredictionCol), getOrDefault(probabilityCol)),
        getOrDefault(predictionCol));
  }

  @Override
  public PeftTextClassifierModel copy(ParamMap extra) {
    PeftTextClassifierModel copy = new PeftTextClassifierModel(uid, runtime, parameters);
    return copyValues(copy, extra).setParent(parent());
  }

  @Override
  public MLWriter write() {
    return new ModelFolder.Writer(this);
  }

  /** Reads a model that was saved. */
  public static MLReader<PeftTextClassifierModel> read() {
    return new ModelFolder.Reader();
  }

  /** Reads a model that was saved at {@code path}. */
  public static PeftTextClassifierModel load(String path) {
    return read().load(path);
  }
}
