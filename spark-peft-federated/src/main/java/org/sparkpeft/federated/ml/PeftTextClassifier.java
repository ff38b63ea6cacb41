package org.sparkpeft.federated.ml;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.apache.spark.ml.Estimator;
import org.apache.spark.ml.param.DoubleParam;
import org.apache.spark.ml.param.IntParam;
import org.apache.spark.ml.param.LongParam;
import org.apache.spark.ml.param.Param;
import org.apache.spark.ml.param.ParamMap;
import org.apache.spark.ml.param.ParamValidators;
import org.apache.spark.ml.param.StringArrayParam;
import org.apache.spark.ml.util.DefaultParamsReader;
import org.apache.spark.ml.util.DefaultParamsWritable;
import org.apache.spark.ml.util.Identifiable$;
import org.apache.spark.ml.util.MLReader;
import org.apache.spark.sql.Column;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.types.NumericType;
import org.apache.spark.sql.types.StructType;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.config.RecipeReader;
import org.sparkpeft.federated.config.Setting;
import org.sparkpeft.federated.round.FederatedRun;
import org.sparkpeft.federated.server.RunFolder;

/**
 * Fine-tunes a text classifier with LoRA in federated rounds over the rows of a DataFrame. With
 * {@code clientCol} each value is a client; without, the rows are dealt out to {@code numClients}
 * clients at random. Whatever has no parameter of its own is set by {@code recipe}, a YAML text
 * with the keys of a recipe file; parameters that are set win over it.
 */
public final class PeftTextClassifier extends Estimator<PeftTextClassifierModel>
    implements DefaultParamsWritable {
  private static final long serialVersionUID = 1L;

  private final String uid;
  private final Param<String> textCol;
  private final Param<String> labelCol;
  private final Param<String> clientCol;
  private final Param<String> taskCol;
  private final Param<String> predictionCol;
  private final Param<String> probabilityCol;
  private final Param<String> rawPredictionCol;
  private final Param<String> modelPath;
  private final IntParam maxLength;
  private final IntParam r;
  private final DoubleParam loraAlpha;
  private final StringArrayParam targetModules;
  private final IntParam numClients;
  private final IntParam numRounds;
  private final IntParam clientsPerRound;
  private final IntParam localEpochs;
  private final IntParam batchSize;
  private final DoubleParam learningRate;
  private final DoubleParam density;
  private final LongParam seed;
  private final Param<String> runDir;
  private final Param<String> recipe;

  public PeftTextClassifier() {
    this(Identifiable$.MODULE$.randomUID("peftTextClassifier"));
  }

  public PeftTextClassifier(String uid) {
    this.uid = uid;
    textCol = PeftTextClassifierParams.textCol(this);
    labelCol = PeftTextClassifierParams.labelCol(this);
    clientCol =
        new Param<>(
            this,
            "clientCol",
            "column with the client a row belongs to; unset: rows are dealt out at random");
    taskCol = PeftTextClassifierParams.taskCol(this);
    predictionCol = PeftTextClassifierParams.predictionCol(this);
    probabilityCol = PeftTextClassifierParams.probabilityCol(this);
    rawPredictionCol = PeftTextClassifierParams.rawPredictionCol(this);
    modelPath =
        new Param<>(
            this,
            "modelPath",
            "Hugging Face model directory of the frozen base, or bundled:all-MiniLM-L6-v2");
    maxLength = new IntParam(this, "maxLength", "longest text in tokens", ParamValidators.gtEq(2));
    r = new IntParam(this, "r", "LoRA rank, 1..512", ParamValidators.inRange(1, 512));
    loraAlpha =
        new DoubleParam(
            this,
            "loraAlpha",
            "LoRA alpha; the update is scaled by alpha / r",
            ParamValidators.gt(0));
    targetModules =
        new StringArrayParam(this, "targetModules", "names of the linear layers that LoRA acts on");
    numClients =
        new IntParam(
            this,
            "numClients",
            "clients to deal the rows out to when there is no clientCol",
            ParamValidators.gtEq(1));
    numRounds = new IntParam(this, "numRounds", "federated rounds", ParamValidators.gtEq(1));
    clientsPerRound =
        new IntParam(
            this,
            "clientsPerRound",
            "clients drawn for a round, 0 for all",
            ParamValidators.gtEq(0));
    localEpochs =
        new IntParam(
            this, "localEpochs", "passes over a client's rows in a round", ParamValidators.gtEq(1));
    batchSize = new IntParam(this, "batchSize", "rows a batch", ParamValidators.gtEq(1));
    learningRate =
        new DoubleParam(this, "learningRate", "peak learning rate", ParamValidators.gt(0));
    density =
        new DoubleParam(
            this,
            "density",
            "fraction of an update's entries sent, both ways, in (0, 1]",
            ParamValidators.inRange(0, 1, false, true));
    seed = new LongParam(this, "seed", "seed of everything random");
    runDir =
        new Param<>(
            this,
            "runDir",
            "folder to keep events, checkpoints and report in; unset: a temporary one, removed after fit");
    recipe = new Param<>(this, "recipe", "further settings as YAML with the keys of a recipe file");
    setDefault(textCol, "text");
    setDefault(labelCol, "label");
    setDefault(predictionCol, "prediction");
    setDefault(probabilityCol, "probability");
    setDefault(rawPredictionCol, "rawPrediction");
    setDefault(recipe, "");
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

  public Param<String> clientCol() {
    return clientCol;
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

  public Param<String> modelPath() {
    return modelPath;
  }

  public IntParam maxLength() {
    return maxLength;
  }

  public IntParam r() {
    return r;
  }

  public DoubleParam loraAlpha() {
    return loraAlpha;
  }

  public StringArrayParam targetModules() {
    return targetModules;
  }

  public IntParam numClients() {
    return numClients;
  }

  public IntParam numRounds() {
    return numRounds;
  }

  public IntParam clientsPerRound() {
    return clientsPerRound;
  }

  public IntParam localEpochs() {
    return localEpochs;
  }

  public IntParam batchSize() {
    return batchSize;
  }

  public DoubleParam learningRate() {
    return learningRate;
  }

  public DoubleParam density() {
    return density;
  }

  public LongParam seed() {
    return seed;
  }

  public Param<String> runDir() {
    return runDir;
  }

  public Param<String> recipe() {
    return recipe;
  }

  public PeftTextClassifier setTextCol(String value) {
    return (PeftTextClassifier) set(textCol, value);
  }

  public PeftTextClassifier setLabelCol(String value) {
    return (PeftTextClassifier) set(labelCol, value);
  }

  public PeftTextClassifier setClientCol(String value) {
    return (PeftTextClassifier) set(clientCol, value);
  }

  /** Column of the task; {@code peft.peft_type} in the recipe must be a method that has tasks. */
  public PeftTextClassifier setTaskCol(String value) {
    return (PeftTextClassifier) set(taskCol, value);
  }

  public PeftTextClassifier setPredictionCol(String value) {
    return (PeftTextClassifier) set(predictionCol, value);
  }

  public PeftTextClassifier setProbabilityCol(String value) {
    return (PeftTextClassifier) set(probabilityCol, value);
  }

  public PeftTextClassifier setRawPredictionCol(String value) {
    return (PeftTextClassifier) set(rawPredictionCol, value);
  }

  public PeftTextClassifier setModelPath(String value) {
    return (PeftTextClassifier) set(modelPath, value);
  }

  public PeftTextClassifier setMaxLength(int value) {
    return (PeftTextClassifier) set(maxLength, value);
  }

  public PeftTextClassifier setR(int value) {
    return (PeftTextClassifier) set(r, value);
  }

  public PeftTextClassifier setLoraAlpha(double value) {
    return (PeftTextClassifier) set(loraAlpha, value);
  }

  public PeftTextClassifier setTargetModules(String[] value) {
    return (PeftTextClassifier) set(targetModules, value);
  }

  public PeftTextClassifier setNumClients(int value) {
    return (PeftTextClassifier) set(numClients, value);
  }

  public PeftTextClassifier setNumRounds(int value) {
    return (PeftTextClassifier) set(numRounds, value);
  }

  public PeftTextClassifier setClientsPerRound(int value) {
    return (PeftTextClassifier) set(clientsPerRound, value);
  }

  public PeftTextClassifier setLocalEpochs(int value) {
    return (PeftTextClassifier) set(localEpochs, value);
  }

  public PeftTextClassifier setBatchSize(int value) {
    return (PeftTextClassifier) set(batchSize, value);
  }

  public PeftTextClassifier setLearningRate(double value) {
    return (PeftTextClassifier) set(learningRate, value);
  }

  public PeftTextClassifier setDensity(double value) {
    return (PeftTextClassifier) set(density, value);
  }

  public PeftTextClassifier setSeed(long value) {
    return (PeftTextClassifier) set(seed, value);
  }

  public PeftTextClassifier setRunDir(String value) {
    return (PeftTextClassifier) set(runDir, value);
  }

  public PeftTextClassifier setRecipe(String value) {
    return (PeftTextClassifier) set(recipe, value);
  }

  @Override
  public PeftTextClassifierModel fit(Dataset<?> dataset) {
    transformSchema(dataset.schema());
    Recipe bound = bind(dataset);
    boolean temporary = get(runDir).isEmpty();
    Path folder = temporary ? temporaryFolder() : Path.of(bound.run().dir());
    try {
      FederatedRun.Result result =
          new FederatedRun(dataset.sparkSession(), bound, event -> {})
              .run(RunFolder.create(folder), false, rows(dataset, bound), Optional.empty());
      PeftTextClassifierModel model =
          new PeftTextClassifierModel(
              org.apache.spark.ml.util.Identifiable$.MODULE$.randomUID("peftTextClassifierModel"),
              result.runtime(),
              result.parameters());
      return copyValues(model, ParamMap.empty()).setParent(this);
    } finally {
      if (temporary) {
        remove(folder);
      }
    }
  }

  /** Class indices become whole numbers in text, which is what a recipe's labels are. */
  private Dataset<Row> rows(Dataset<?> dataset, Recipe bound) {
    List<Column> columns = new ArrayList<>();
    columns.add(dataset.col(bound.data().text()));
    columns.add(dataset.col(bound.data().label()).cast("long").as(bound.data().label()));
    Set<String> others = new LinkedHashSet<>();
    get(clientCol).foreach(others::add);
    get(taskCol).foreach(others::add);
    others.forEach(name -> columns.add(dataset.col(name)));
    return dataset.select(columns.toArray(Column[]::new));
  }

  private Recipe bind(Dataset<?> dataset) {
    List<Setting> settings = new ArrayList<>();
    add(settings, "data.train", "dataframe", "");
    add(settings, "data.test", "", "");
    add(settings, "data.format", "table", "");
    add(settings, "data.text", getOrDefault(textCol), "textCol");
    add(settings, "data.label", getOrDefault(labelCol), "labelCol");
    add(settings, "model.task", "text-classification", "");
    add(settings, "spark.master", dataset.sparkSession().sparkContext().master(), "");
    if (get(clientCol).isDefined()) {
      add(settings, "clients.partition", "column", "clientCol");
      add(settings, "clients.column", getOrDefault(clientCol), "clientCol");
    } else if (get(numClients).isDefined()) {
      add(settings, "clients.partition", "iid", "numClients");
    }
    addIfSet(settings, "data.task", taskCol);
    addIfSet(settings, "model.path", modelPath);
    addIfSet(settings, "model.max_length", maxLength);
    addIfSet(settings, "peft.r", r);
    addIfSet(settings, "peft.lora_alpha", loraAlpha);
    if (get(targetModules).isDefined()) {
      add(
          settings,
          "peft.target_modules",
          "[" + String.join(", ", getOrDefault(targetModules)) + "]",
          "targetModules");
    }
    addIfSet(settings, "clients.count", numClients);
    addIfSet(settings, "rounds.count", numRounds);
    addIfSet(settings, "rounds.clients_per_round", clientsPerRound);
    addIfSet(settings, "train.local_epochs", localEpochs);
    addIfSet(settings, "train.batch_size", batchSize);
    addIfSet(settings, "train.learning_rate", learningRate);
    addIfSet(settings, "compress.uplink.density", density);
    addIfSet(settings, "compress.downlink.density", density);
    addIfSet(settings, "run.seed", seed);
    addIfSet(settings, "run.dir", runDir);
    return RecipeReader.parse(
        getOrDefault(recipe), "recipe", Path.of("").toAbsolutePath(), settings);
  }

  private void addIfSet(List<Setting> settings, String key, Param<?> param) {
    if (get(param).isDefined()) {
      add(settings, key, String.valueOf(get(param).get()), param.name());
    }
  }

  private static void add(List<Setting> settings, String key, String value, String param) {
    settings.add(new Setting(key, value, param.isEmpty() ? key : param));
  }

  private static Path temporaryFolder() {
    try {
      return Files.createTempDirectory("spark-peft-fit");
    } catch (IOException e) {
      throw new UncheckedIOException("a temporary folder cannot be made; set runDir", e);
    }
  }

  private static void remove(Path folder) {
    try {
      org.apache.commons.io.FileUtils.deleteDirectory(folder.toFile());
    } catch (IOException e) {
      throw new UncheckedIOException("removing " + folder, e);
    }
  }

  @Override
  public StructType transformSchema(StructType schema) {
    PeftTextClassifierParams.requireColumn(schema, "labelCol", getOrDefault(labelCol));
    if (!(schema.apply(getOrDefault(labelCol)).dataType() instanceof NumericType)) {
      throw new IllegalArgumentException(
          "labelCol: column \""
              + getOrDefault(labelCol)
              + "\" must hold class indices as numbers; StringIndexer makes them from text");
    }
    if (get(clientCol).isDefined()) {
      PeftTextClassifierParams.requireColumn(schema, "clientCol", getOrDefault(clientCol));
    }
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
  public PeftTextClassifier copy(ParamMap extra) {
    return defaultCopy(extra);
  }

  /** Reads an estimator that was saved. */
  public static MLReader<PeftTextClassifier> read() {
    return new DefaultParamsReader<>();
  }

  /** Reads an estimator that was saved at {@code path}. */
  public static PeftTextClassifier load(String path) {
    return read().load(path);
  }
}
