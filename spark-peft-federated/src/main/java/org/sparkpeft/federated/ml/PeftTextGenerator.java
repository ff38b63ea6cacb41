package org.sparkpeft.federated.ml;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.spark.ml.Transformer;
import org.apache.spark.ml.param.DoubleParam;
import org.apache.spark.ml.param.IntParam;
import org.apache.spark.ml.param.Param;
import org.apache.spark.ml.param.ParamMap;
import org.apache.spark.ml.util.DefaultParamsReader;
import org.apache.spark.ml.util.DefaultParamsWritable;
import org.apache.spark.ml.util.Identifiable$;
import org.apache.spark.ml.util.MLReader;
import org.apache.spark.ml.util.MLWriter;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.sparkpeft.federated.client.GenerationJob;
import org.sparkpeft.federated.client.TextGeneration;

/**
 * Continues the text of each row with a language model, with or without an adapter, on the
 * executors. Settings are those of Hugging Face's {@code generation_config.json}; what is drawn
 * when sampling depends on their {@code seed} and the text alone.
 *
 * <pre>{@code
 * Dataset<Row> answers = new PeftTextGenerator()
 *     .setModel("/models/llama").setAdapter("/runs/shakespeare/adapter")
 *     .setInputCol("prompt").setGeneration(Map.of("max_new_tokens", 40))
 *     .transform(prompts);   // adds "generated", an array of strings
 * }</pre>
 */
public final class PeftTextGenerator extends Transformer implements DefaultParamsWritable {
  private static final long serialVersionUID = 1L;
  private static final ObjectMapper JSON = new ObjectMapper();

  private final String uid;
  private final Param<String> model;
  private final Param<String> adapter;
  private final Param<String> inputCol;
  private final Param<String> outputCol;
  private final Param<String> taskCol;
  private final Param<String> generation;
  private final IntParam maxLength;
  private final Param<String> proxy;
  private final Param<String> proxyAdapter;
  private final Param<String> proxyBase;
  private final DoubleParam proxyAlpha;

  public PeftTextGenerator() {
    this(Identifiable$.MODULE$.randomUID("peftTextGenerator"));
  }

  public PeftTextGenerator(String uid) {
    this.uid = uid;
    model = new Param<>(this, "model", "Hugging Face directory of the language model");
    adapter =
        new Param<>(this, "adapter", "Hugging Face PEFT directory of an adapter; empty for none");
    inputCol = new Param<>(this, "inputCol", "column with the texts to continue");
    outputCol = new Param<>(this, "outputCol", "column to write the continuations to");
    taskCol =
        new Param<>(
            this,
            "taskCol",
            "column with the task of a text, for adapters trained with data.task; empty for the"
                + " first task");
    generation =
        new Param<>(this, "generation", "settings in place of generation_config.json's, as JSON");
    maxLength = new IntParam(this, "maxLength", "tokens kept of a text");
    proxy =
        new Param<>(
            this,
            "proxy",
            "a smaller model with the same tokenizer whose training tunes the model; empty for none");
    proxyAdapter =
        new Param<>(
            this,
            "proxyAdapter",
            "Hugging Face PEFT directory of an adapter for proxy; may be empty");
    proxyBase =
        new Param<>(
            this, "proxyBase", "proxy before it was trained; empty for proxy without its adapter");
    proxyAlpha = new DoubleParam(this, "proxyAlpha", "strength of proxy; 0 changes nothing");
    setDefault(proxy, "");
    setDefault(proxyAdapter, "");
    setDefault(proxyBase, "");
    setDefault(proxyAlpha, 1.0);
    setDefault(adapter, "");
    setDefault(inputCol, "text");
    setDefault(outputCol, "generated");
    setDefault(taskCol, "");
    setDefault(generation, "{}");
    setDefault(maxLength, 512);
  }

  @Override
  public String uid() {
    return uid;
  }

  public Param<String> model() {
    return model;
  }

  public Param<String> adapter() {
    return adapter;
  }

  public Param<String> inputCol() {
    return inputCol;
  }

  public Param<String> outputCol() {
    return outputCol;
  }

  public Param<String> taskCol() {
    return taskCol;
  }

  public Param<String> generation() {
    return generation;
  }

  public IntParam maxLength() {
    return maxLength;
  }

  public Param<String> proxy() {
    return proxy;
  }

  public Param<String> proxyAdapter() {
    return proxyAdapter;
  }

  public Param<String> proxyBase() {
    return proxyBase;
  }

  public DoubleParam proxyAlpha() {
    return proxyAlpha;
  }

  /** Folder of the base model, the same path on every executor. */
  public PeftTextGenerator setModel(String value) {
    return (PeftTextGenerator) set(model, value);
  }

  /** Folder of an adapter, read by the driver; empty for the base alone. */
  public PeftTextGenerator setAdapter(String value) {
    return (PeftTextGenerator) set(adapter, value);
  }

  /** Column with the texts; default {@code text}. */
  public PeftTextGenerator setInputCol(String value) {
    return (PeftTextGenerator) set(inputCol, value);
  }

  /** Column of the continuations, an array of strings; default {@code generated}. */
  public PeftTextGenerator setOutputCol(String value) {
    return (PeftTextGenerator) set(outputCol, value);
  }

  /**
   * Column with the task of a text, of an adapter trained with {@code data.task}; empty, the
   * default, for the first task.
   */
  public PeftTextGenerator setTaskCol(String value) {
    return (PeftTextGenerator) set(taskCol, value);
  }

  /** Tokens kept of a text; default 512. */
  public PeftTextGenerator setMaxLength(int value) {
    return (PeftTextGenerator) set(maxLength, value);
  }

  /**
   * Folder of a smaller model with the same tokenizer, the same path on every executor: what its
   * training changed in its logits is added to the model's (proxy tuning). Empty, the default, for
   * none.
   */
  public PeftTextGenerator setProxy(String value) {
    return (PeftTextGenerator) set(proxy, value);
  }

  /** Folder of the smaller model's adapter, read by the driver; empty if it was trained in full. */
  public PeftTextGenerator setProxyAdapter(String value) {
    return (PeftTextGenerator) set(proxyAdapter, value);
  }

  /** Folder of the smaller model before it was trained; empty for the one without its adapter. */
  public PeftTextGenerator setProxyBase(String value) {
    return (PeftTextGenerator) set(proxyBase, value);
  }

  /** Strength of the proxy; default 1. */
  public PeftTextGenerator setProxyAlpha(double value) {
    return (PeftTextGenerator) set(proxyAlpha, value);
  }

  /**
   * Settings such as {@code max_new_tokens}, {@code do_sample}, {@code num_beams}, {@code seed}.
   */
  public PeftTextGenerator setGeneration(Map<String, ?> settings) {
    try {
      return (PeftTextGenerator)
          set(generation, JSON.writeValueAsString(new TreeMap<String, Object>(settings)));
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException("generation: cannot be written as JSON", e);
    }
  }

  @SuppressWarnings("unchecked") // An object of JSON.
  private Map<String, Object> settings() {
    String json = getOrDefault(generation);
    try {
      return JSON.readValue(json, TreeMap.class);
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException("generation: must be a JSON object, got " + json, e);
    }
  }

  private TextGeneration loaded() {
    if (!isDefined(model)) {
      throw new IllegalArgumentException("model: is not set; setModel(folder) says which");
    }
    int length = (Integer) getOrDefault(maxLength);
    TextGeneration alone = TextGeneration.of(getOrDefault(model), getOrDefault(adapter), length);
    if (getOrDefault(proxy).isEmpty()) {
      if (!getOrDefault(proxyAdapter).isEmpty() || !getOrDefault(proxyBase).isEmpty()) {
        throw new IllegalArgumentException(
            "proxy: is not set; proxyAdapter and proxyBase belong to it");
      }
      return alone;
    }
    return alone.withProxy(
        getOrDefault(proxy),
        getOrDefault(proxyAdapter),
        getOrDefault(proxyBase),
        (Double) getOrDefault(proxyAlpha),
        length);
  }

  @Override
  public Dataset<Row> transform(Dataset<?> dataset) {
    transformSchema(dataset.schema());
    TextGeneration loaded = loaded();
    Map<String, Object> settings = settings();
    loaded.config(settings); // A wrong setting fails here, not on the executors.
    return GenerationJob.withContinuations(
        dataset.toDF(),
        getOrDefault(inputCol),
        getOrDefault(taskCol),
        loaded,
        settings,
        getOrDefault(outputCol));
  }

  @Override
  public StructType transformSchema(StructType schema) {
    String input = getOrDefault(inputCol);
    String output = getOrDefault(outputCol);
    PeftTextClassifierParams.requireColumn(schema, "inputCol", input);
    if (!schema.apply(input).dataType().equals(DataTypes.StringType)) {
      throw new IllegalArgumentException(
          "inputCol: column \""
              + input
              + "\" must hold strings, it holds "
              + schema.apply(input).dataType().simpleString());
    }
    if (!getOrDefault(taskCol).isEmpty()) {
      PeftTextClassifierParams.requireColumn(schema, "taskCol", getOrDefault(taskCol));
    }
    if (List.of(schema.fieldNames()).contains(output)) {
      throw new IllegalArgumentException(
          "output column \"" + output + "\" exists already; name another");
    }
    return schema.add(output, DataTypes.createArrayType(DataTypes.StringType, false), true);
  }

  @Override
  public PeftTextGenerator copy(ParamMap extra) {
    return (PeftTextGenerator) defaultCopy(extra);
  }

  @Override
  public MLWriter write() {
    return new org.apache.spark.ml.util.DefaultParamsWriter(this);
  }

  /** Reads one that was saved. */
  public static MLReader<PeftTextGenerator> read() {
    return new DefaultParamsReader<>();
  }

  /** Reads one that was saved at {@code path}. */
  public static PeftTextGenerator load(String path) {
    return read().load(path);
  }
}
