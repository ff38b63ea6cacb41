package org.sparkpeft.federated.client;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.model.Backbones;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.federated.config.ClientsConfig;
import org.sparkpeft.federated.config.DataConfig;
import org.sparkpeft.federated.config.ModelConfig;
import org.sparkpeft.federated.config.Recipe;

/**
 * A run's data, checked, split into clients and encoded on the executors.
 *
 * @param runtime model, task (with the labels found) and method
 * @param clients one shard for each client
 * @param test test rows; in shards named like clients where {@code testHasClients}, else in blocks;
 *     empty without test data
 * @param testHasClients whether the test data says which client a row belongs to
 * @param references test rows as texts, where the recipe compares texts; empty without test data
 */
public record FederatedData(
    RuntimeSpec runtime,
    ExampleShards clients,
    Optional<ExampleShards> test,
    boolean testHasClients,
    Optional<ReferenceTexts> references)
    implements AutoCloseable {
  private static final int TEST_BLOCK = 256;

  /**
   * Checks and prepares rows.
   *
   * @param train training rows
   * @param test test rows, if any
   * @throws ConfigException if the task does not go with the model
   * @throws FormatException if the model's architecture is not supported
   * @throws DataException if a column is missing, a text or label is null, or there are too few
   *     classes or examples
   */
  public static FederatedData prepare(
      Dataset<Row> train, Optional<Dataset<Row>> test, Recipe recipe) {
    return withTexts(
        InstructionRows.of(train, recipe.data()),
        test.map(rows -> InstructionRows.of(rows, recipe.data())),
        recipe);
  }

  private static FederatedData withTexts(
      Dataset<Row> train, Optional<Dataset<Row>> test, Recipe recipe) {
    ModelDirectory model = ModelDirectory.resolve(recipe.model().path());
    String task = recipe.model().task();
    TaskConfig.requireInput(task, Backbones.input(model));
    int positions = Backbones.config(model).maxTokens();
    if (!ModelConfig.isMedia(task) && recipe.model().maxLength() > positions) {
      throw new ConfigException(
          "model.max_length",
          "the model has " + positions + " positions, got " + recipe.model().maxLength());
    }
    DataConfig data = recipe.data();
    if (data.packing() && !Backbones.isDecoder(model)) {
      throw new ConfigException(
          "data.packing",
          "needs a decoder, such as Llama or GPT-2, which can keep packed texts apart; "
              + model.path()
              + " is or has an encoder: "
              + model.config().path("model_type").asText());
    }
    ClientsConfig clients = recipe.clients();
    boolean hasColumn = clients.partition().equals("column");
    boolean hasLabel = ModelConfig.hasLabel(task);
    Census.LabelKind kind = labelKind(task);
    if (!data.hasTurns()) {
      requirePairs(task, data.textPair());
    }
    String input = data.input(task);
    InputColumn.require(train, task, input);
    test.ifPresent(rows -> InputColumn.require(rows, task, input));
    DataColumns columns =
        new DataColumns(
            input,
            data.textPair(),
            data.rejected(),
            hasLabel ? data.label() : "",
            hasColumn ? clients.column() : "",
            data.task());
    List<String> tasks = TaskNames.of(train, data.task(), recipe.peft());
    test.ifPresent(rows -> new TaskNames(tasks).requireKnown(rows, data.task()));
    Census found = Census.take(train, "data.train", input, data.textPair(), data.label(), kind);
    boolean hasClasses = kind == Census.LabelKind.CLASS || kind == Census.LabelKind.CLASSES;
    List<String> labels = hasClasses ? labels(found.labels(), data) : List.of();
    Optional<Census> tested =
        test.map(
            rows -> Census.take(rows, "data.test", input, data.textPair(), data.label(), kind));
    tested.ifPresent(census -> requireKnown(census.labels(), labels));
    if (ModelConfig.isPreference(task)) {
      PreferenceRows.require(train, "data.train", columns);
      test.ifPresent(rows -> PreferenceRows.require(rows, "data.test", columns));
    }
    RuntimeSpec runtime =
        new RuntimeSpec(
                recipe.model().path(),
                new TaskConfig(
                        task,
                        labels,
                        recipe.model().pooling(),
                        recipe.model().maxLength(),
                        recipe.model().preference())
                    .resolvedFor(model),
                recipe.peft(),
                recipe.spark().taskCpus())
            .withEncoding(EncodingConfig.of(data))
            .withForm(recipe.model().form())
            .withTasks(tasks);
    SparkSession spark = train.sparkSession();
    RowReader reader =
        new RowReader(task, labels, tasks, MediaFiles.beside(spark, data.train(), data.format()));
    long seed = recipe.run().seed();
    ExampleShards clientShards;
    if (hasColumn) {
      clientShards = ExampleShards.byColumn(train, columns, reader, runtime, seed);
    } else {
      long[] counts =
          ModelConfig.hasOneClass(task)
              ? labels.stream().mapToLong(label -> found.labels().getOrDefault(label, 0L)).toArray()
              : new long[] {found.rows()};
      int count = clients.count();
      clientShards =
          ExampleShards.byPartitioner(
              train,
              columns,
              reader,
              runtime,
              seed,
              partitioner(clients, seed, counts),
              counts,
              index -> ClientPartitioner.name(index, count));
    }
    boolean testHasClients =
        hasColumn
            && test.isPresent()
            && Arrays.asList(test.get().columns()).contains(clients.column());
    RowReader testReader =
        new RowReader(task, labels, tasks, MediaFiles.beside(spark, data.test(), data.format()));
    Optional<ExampleShards> testShards =
        test.map(
            rows ->
                testHasClients
                    ? ExampleShards.byColumn(rows, columns, testReader, runtime, seed)
                    : blocks(rows, tested.get().rows(), columns, testReader, runtime));
    return new FederatedData(
        runtime,
        clientShards,
        testShards,
        testHasClients,
        test.filter(rows -> comparesTexts(recipe, runtime))
            .map(
                rows ->
                    ReferenceTexts.of(
                        rows,
                        columns,
                        testReader,
                        tested.get().rows(),
                        recipe.evaluate().generate().maxExamples())));
  }

  /** Whether texts are compared; settings that cannot be are refused before anything is trained. */
  private static boolean comparesTexts(Recipe recipe, RuntimeSpec runtime) {
    if (recipe.evaluate().textMetrics().isEmpty()) {
      return false;
    }
    TextEvaluationJob.requireSpeaker(runtime, recipe.evaluate().generate());
    return true;
  }

  /**
   * Rows to compare an existing adapter's texts with.
   *
   * @param taskColumn column of the task, empty where all is the first task
   * @param most rows to keep; 0 for all
   * @throws ConfigException if the task says nothing, or no column has what should be said
   */
  public static ReferenceTexts references(
      Dataset<Row> rows,
      String input,
      String pair,
      String taskColumn,
      RuntimeSpec runtime,
      int most) {
    String task = runtime.task().task();
    boolean said = !pair.isEmpty() || input.equals(DataConfig.TURNS);
    if (!said || !ModelConfig.isLanguage(task) || ModelConfig.isPreference(task)) {
      throw new ConfigException(
          "--metrics",
          "texts are compared for text-generation and text2text-generation, with the column of what"
              + " should be said (data.text_pair, --text-pair); the task is "
              + task);
    }
    InputColumn.require(rows, task, input);
    Census census = Census.take(rows, "--data", input, pair, "", Census.LabelKind.NONE);
    new TaskNames(runtime.tasks()).requireKnown(rows, taskColumn);
    RowReader reader = new RowReader(task, List.of(), runtime.tasks(), MediaFiles.NONE);
    return ReferenceTexts.of(
        rows, new DataColumns(input, pair, "", "", "", taskColumn), reader, census.rows(), most);
  }

  /** Labelled rows to evaluate an existing adapter on, in blocks. */
  public static ExampleShards testShards(
      Dataset<Row> rows, String input, String pair, String label, RuntimeSpec runtime) {
    return testShards(
        rows, input, pair, "", label, "", runtime, MediaFiles.absolute(rows.sparkSession()));
  }

  /**
   * Rows to evaluate an existing adapter on, in blocks.
   *
   * @param rejected column of the rejected completion, empty where there is none
   * @param taskColumn column of the task, empty where all is the first task
   * @param files opens images or recordings whose paths may be relative
   */
  public static ExampleShards testShards(
      Dataset<Row> rows,
      String input,
      String pair,
      String rejected,
      String label,
      String taskColumn,
      RuntimeSpec runtime,
      MediaFiles files) {
    String task = runtime.task().task();
    InputColumn.require(rows, task, input);
    boolean hasLabel = ModelConfig.hasLabel(task);
    if (ModelConfig.isPreference(task)) {
      requirePairs(task, pair);
    }
    DataColumns columns =
        new DataColumns(input, pair, rejected, hasLabel ? label : "", "", taskColumn);
    new TaskNames(runtime.tasks()).requireKnown(rows, taskColumn);
    Census census = Census.take(rows, "--data", input, pair, label, labelKind(task));
    requireKnown(census.labels(), runtime.task().labels());
    if (ModelConfig.isPreference(task)) {
      PreferenceRows.require(rows, "--data", columns);
    }
    return blocks(
        rows,
        census.rows(),
        columns,
        new RowReader(task, runtime.task().labels(), runtime.tasks(), files),
        runtime);
  }

  /**
   * Rows without clients, in blocks of equal size; which row is in which block depends on the rows'
   * content only.
   */
  private static ExampleShards blocks(
      Dataset<Row> rows, long count, DataColumns columns, RowReader reader, RuntimeSpec runtime) {
    int blocks = (int) Math.max(1, (count + TEST_BLOCK - 1) / TEST_BLOCK);
    return ExampleShards.byPartitioner(
        rows,
        columns.withoutClient(),
        reader,
        runtime,
        0,
        ClientPartitioner.iid(blocks),
        new long[] {count},
        index -> ClientPartitioner.name(index, blocks).replace("client", "block"));
  }

  private static ClientPartitioner partitioner(
      ClientsConfig clients, long seed, long[] labelCounts) {
    long rows = Arrays.stream(labelCounts).sum();
    if (rows < (long) clients.count() * clients.minExamples()) {
      throw new DataException(
          rows
              + " training rows are too few for clients.count "
              + clients.count()
              + " with clients.min_examples "
              + clients.minExamples());
    }
    return switch (clients.partition()) {
      case "iid" -> ClientPartitioner.iid(clients.count());
      case "dirichlet" ->
          ClientPartitioner.dirichlet(
              seed, clients.count(), clients.concentration(), clients.minExamples(), labelCounts);
      case "shard" ->
          ClientPartitioner.shards(seed, clients.count(), clients.labelsPerClient(), rows);
      case "quantity" ->
          ClientPartitioner.quantity(
              seed, clients.count(), clients.concentration(), clients.minExamples(), rows);
      default -> throw new IllegalStateException("no partitioner named " + clients.partition());
    };
  }

  private static void requirePairs(String task, String pair) {
    boolean may = !ModelConfig.hasLabel(task) || ModelConfig.isLanguage(task);
    boolean must = may && !task.equals("text-generation");
    if (must && pair.isEmpty()) {
      throw new ConfigException(
          "data.text_pair",
          "model.task " + task + " learns from pairs; name the column of the second text");
    }
    if (!may && !pair.isEmpty()) {
      throw new ConfigException(
          "data.text_pair",
          "is for sentence-embedding and text generation only; join the texts in one column");
    }
  }

  private static Census.LabelKind labelKind(String task) {
    return switch (task) {
      case "sentence-embedding", "text-generation", "text2text-generation", "dpo", "ipo", "orpo" ->
          Census.LabelKind.NONE;
      case "regression", "kto" -> Census.LabelKind.VALUE;
      case "multi-label-classification", "token-classification" -> Census.LabelKind.CLASSES;
      default -> Census.LabelKind.CLASS;
    };
  }

  private static List<String> labels(Map<String, Long> found, DataConfig data) {
    List<String> labels = data.labels().isEmpty() ? Labels.order(found) : data.labels();
    requireKnown(found, labels);
    if (labels.size() < 2) {
      throw new DataException(
          "data.label: the only class in \""
              + data.label()
              + "\" is "
              + labels
              + "; classification needs at least two");
    }
    return labels;
  }

  private static void requireKnown(Map<String, Long> found, List<String> labels) {
    Map<String, Long> unknown = new TreeMap<>(found);
    unknown.keySet().removeAll(labels);
    if (!unknown.isEmpty()) {
      List<String> names = new ArrayList<>(unknown.keySet());
      throw new DataException(
          "data.label: "
              + names.subList(0, Math.min(5, names.size()))
              + (names.size() > 5 ? " and " + (names.size() - 5) + " more" : "")
              + " are not among the "
              + labels.size()
              + " labels that training has; add training rows for them, remove those rows, or correct data.labels");
    }
  }

  @Override
  public void close() {
    clients.close();
    test.ifPresent(ExampleShards::close);
    references.ifPresent(ReferenceTexts::close);
  }
}
