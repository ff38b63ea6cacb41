package org.sparkpeft.federated.cli;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.Consumer;
import java.util.function.Function;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.AtomicFiles;
import org.sparkpeft.core.io.ModelHub;
import org.sparkpeft.core.train.Evaluation;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.federated.client.DataReader;
import org.sparkpeft.federated.client.EvaluationJob;
import org.sparkpeft.federated.client.ExampleShards;
import org.sparkpeft.federated.client.FederatedData;
import org.sparkpeft.federated.client.GenerationJob;
import org.sparkpeft.federated.client.InstructionRows;
import org.sparkpeft.federated.client.MediaFiles;
import org.sparkpeft.federated.client.PredictionJob;
import org.sparkpeft.federated.client.ReferenceTexts;
import org.sparkpeft.federated.client.StackedAdapters;
import org.sparkpeft.federated.client.TextEvaluationJob;
import org.sparkpeft.federated.client.TextGeneration;
import org.sparkpeft.federated.client.TunedAdapter;
import org.sparkpeft.federated.config.DataConfig;
import org.sparkpeft.federated.config.ModelConfig;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.config.RecipeReader;
import org.sparkpeft.federated.config.RecipeWriter;
import org.sparkpeft.federated.round.FederatedRun;
import org.sparkpeft.federated.round.RunListener;
import org.sparkpeft.federated.server.RunFolder;
import org.sparkpeft.federated.track.EventLog;
import org.sparkpeft.federated.track.Report;
import org.sparkpeft.federated.track.Summary;
import org.sparkpeft.federated.track.SummaryTable;

/** The commands' work: opens Spark, runs, and writes summary and report. */
final class FederatedActions implements Actions {
  /**
   * Sections and keys that may differ when a run is resumed: they do not touch what was trained so
   * far.
   */
  private static final List<String> MAY_DIFFER =
      List.of(
          "run.dir",
          "spark",
          "evaluate",
          "rounds.count",
          "rounds.stall_seconds",
          "rounds.concurrency",
          "model.fuse");

  @Override
  public Outcome quickstart(Recipe recipe, TrainOptions options, RunListener listener) {
    return train(recipe, options, listener);
  }

  @Override
  public Outcome train(Recipe recipe, TrainOptions options, RunListener listener) {
    Path directory = localDirectory(recipe);
    if (options.dryRun()) {
      return plan(recipe);
    }
    RunFolder folder =
        options.resume() ? resumable(directory, recipe) : RunFolder.create(directory);
    try (EmbeddedSpark spark = EmbeddedSpark.open(recipe.spark(), recipe.run().name())) {
      FederatedRun.Result result;
      try (EventLog log = EventLog.open(directory, Clock.systemUTC())) {
        RunListener both =
            event -> {
              log.on(event);
              listener.on(event);
            };
        result = new FederatedRun(spark.session(), recipe, both).run(folder, options.resume());
      }
      SortedMap<String, Object> summary =
          Summary.of(EventLog.read(folder.events()).events(), result.adapterSha256());
      Summary.write(folder.summary(), summary);
      Path report = Report.write(directory);
      SortedMap<String, Object> data = new TreeMap<>(summary);
      data.put("run.dir", directory.toString());
      data.put("report", report.toString());
      return new Outcome(
          SummaryTable.of(summary) + "\nadapter  " + folder.adapter() + "\nreport   " + report,
          data);
    } finally {
      folder.removeIfUnused();
    }
  }

  private static Path localDirectory(Recipe recipe) {
    String dir = recipe.run().dir();
    String path = dir.startsWith("file:") ? dir.replaceFirst("^file:/*", "/") : dir;
    if (path.matches("[a-z][a-z0-9+.-]*:.*")) {
      throw new ConfigException(
          "run.dir",
          "must be a path the driver can write, such as a mounted /dbfs or /Volumes folder; got "
              + dir);
    }
    return Path.of(path).toAbsolutePath();
  }

  private static RunFolder resumable(Path directory, Recipe recipe) {
    RunFolder folder = RunFolder.existing(directory);
    Map<String, Object> before = flatten(RecipeReader.read(folder.config()));
    Map<String, Object> now = flatten(recipe);
    List<String> different = new ArrayList<>();
    now.forEach(
        (key, value) -> {
          boolean free =
              MAY_DIFFER.stream().anyMatch(open -> key.equals(open) || key.startsWith(open + "."));
          if (!free && !value.equals(before.get(key))) {
            different.add(key + " was " + before.get(key) + " and is now " + value);
          }
        });
    if (!different.isEmpty()) {
      throw new ConfigException(
          "--resume", "the recipe differs from the run's own: " + String.join("; ", different));
    }
    return folder;
  }

  private static Map<String, Object> flatten(Recipe recipe) {
    Map<String, Object> flat = new LinkedHashMap<>();
    flatten("", RecipeWriter.toMap(recipe), flat);
    return flat;
  }

  private static void flatten(String prefix, Map<?, ?> map, Map<String, Object> flat) {
    map.forEach(
        (key, value) -> {
          if (value instanceof Map<?, ?> inner) {
            flatten(prefix + key + ".", inner, flat);
          } else {
            flat.put(prefix + key, value);
          }
        });
  }

  private static Outcome plan(Recipe recipe) {
    try (EmbeddedSpark spark = EmbeddedSpark.open(recipe.spark(), recipe.run().name())) {
      Path scratch = Files.createTempDirectory("spark-peft-plan");
      try {
        FederatedRun.Plan plan =
            new FederatedRun(spark.session(), recipe, event -> {}).plan(new RunFolder(scratch));
        SortedMap<String, Object> data = new TreeMap<>();
        data.put("clients", plan.clients());
        data.put("clients_per_round", plan.cohort());
        data.put("rounds", plan.rounds());
        data.put("train_examples", plan.trainExamples());
        data.put("test_examples", plan.testExamples());
        data.put("labels", plan.labels());
        data.put("trainable_parameters", plan.trainableParameters());
        return new Outcome(
            "%,d rounds of %,d out of %,d clients; %,d training and %,d test examples, %d classes; %,d trainable parameters. Nothing was trained."
                .formatted(
                    plan.rounds(),
                    plan.cohort(),
                    plan.clients(),
                    plan.trainExamples(),
                    plan.testExamples(),
                    plan.labels().size(),
                    plan.trainableParameters()),
            data);
      } finally {
        org.apache.commons.io.FileUtils.deleteDirectory(scratch.toFile());
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Override
  public Outcome plan(Recipe recipe, List<String> methods) {
    return withData(
        recipe,
        data ->
            Table.of(
                MethodCosts.COLUMNS,
                MethodCosts.of(data.runtime(), recipe, methods),
                MethodCosts.NOTES));
  }

  @Override
  public Outcome benchMethods(Recipe recipe, MethodBenchOptions options) {
    return withData(
        recipe,
        data -> {
          ExampleShards test =
              data.test()
                  .orElseThrow(
                      () -> new ConfigException("data.test", "methods are compared on test data"));
          MethodBench bench =
              new MethodBench(
                  recipe, data.runtime(), data.clients().pooled(), test.pooled(), options.steps());
          List<Map<String, Object>> rows =
              bench.run(
                  options.methods(),
                  row ->
                      options
                          .progress()
                          .accept(row.get("method") + " " + row.getOrDefault("accuracy", "")));
          if (!options.out().isEmpty()) {
            AtomicFiles.write(
                Path.of(options.out()),
                MethodBench.markdown(rows, recipe, options.steps())
                    .getBytes(StandardCharsets.UTF_8));
          }
          return Table.of(MethodBench.COLUMNS, rows);
        });
  }

  @Override
  public Outcome benchTrain(Recipe recipe, TrainBenchOptions options) {
    TrainBench bench = new TrainBench(recipe, options.warmup(), options.steps());
    Outcome outcome =
        options.madeUp()
            ? TrainBench.table(bench.onMadeUp())
            : withData(
                recipe,
                data -> TrainBench.table(bench.on(data.runtime(), data.clients().pooled())));
    if (!options.out().toString().isEmpty()) {
      AtomicFiles.write(
          options.out(), SparkPeft.toJson(outcome.data()).getBytes(StandardCharsets.UTF_8));
    }
    return outcome;
  }

  @Override
  public Outcome benchClients(Recipe recipe, ClientBenchOptions options) {
    try (EmbeddedSpark spark = EmbeddedSpark.open(recipe.spark(), recipe.run().name())) {
      return Table.of(
          ClientBench.COLUMNS,
          new ClientBench(recipe, options).run(spark.session(), options.progress()),
          List.of(
              "%d clients, %d updates of %d texts of %d tokens each; shared: %s clients a pass"
                  .formatted(
                      options.clients(),
                      recipe.train().localSteps(),
                      recipe.train().batchSize(),
                      recipe.model().maxLength(),
                      recipe.train().clientsPerPass().clients(recipe.train().batchSize())),
              "loss_gap: relative difference of the mean training loss"));
    }
  }

  private static Outcome withData(Recipe recipe, Function<FederatedData, Outcome> work) {
    try (EmbeddedSpark spark = EmbeddedSpark.open(recipe.spark(), recipe.run().name())) {
      DataReader reader = new DataReader(spark.session());
      DataConfig from = recipe.data();
      Dataset<Row> train = reader.read(from.train(), from.format(), from.options());
      Optional<Dataset<Row>> test =
          from.test().isBlank()
              ? Optional.empty()
              : Optional.of(reader.read(from.test(), from.format(), from.options()));
      try (FederatedData data = FederatedData.prepare(train, test, recipe)) {
        return work.apply(data);
      }
    }
  }

  @Override
  public Outcome evaluate(EvaluateRequest request) {
    try (EmbeddedSpark spark = EmbeddedSpark.open(request.spark(), "evaluate")) {
      StackedAdapters adapter = adapters(request.source());
      InputData input = request.data().orElseGet(() -> testData(request.source()));
      Dataset<Row> rows =
          layout(
              request.source(),
              input,
              new DataReader(spark.session()).read(input.path(), input.format(), input.options()));
      try (ExampleShards shards =
          FederatedData.testShards(
              rows,
              input.input(),
              input.textPair(),
              input.rejected(),
              input.label(),
              input.task(),
              adapter.runtime(),
              files(spark, input))) {
        Evaluation evaluation =
            EvaluationJob.run(shards, adapter).values().stream()
                .reduce(Evaluation::merge)
                .orElseThrow();
        SortedMap<String, Double> metrics = new TreeMap<>(evaluation.metrics());
        metrics.putAll(textMetrics(rows, input, adapter, request));
        SortedMap<String, Object> data = new TreeMap<>(metrics);
        data.put("examples", evaluation.items());
        StringBuilder lines =
            new StringBuilder("%-12s %,d".formatted("examples", evaluation.items()));
        metrics.forEach(
            (name, value) ->
                lines.append(String.format(java.util.Locale.ROOT, "%n%-12s %.4f", name, value)));
        return new Outcome(lines.toString(), data);
      }
    }
  }

  private static SortedMap<String, Double> textMetrics(
      Dataset<Row> rows, InputData input, StackedAdapters adapter, EvaluateRequest request) {
    if (request.texts().isEmpty()) {
      return new TreeMap<>();
    }
    try (ReferenceTexts references =
        FederatedData.references(
            rows,
            input.input(),
            input.textPair(),
            input.task(),
            adapter.runtime(),
            request.generate().maxExamples())) {
      return TextEvaluationJob.run(references, adapter, request.texts(), request.generate())
          .values();
    }
  }

  /** Rows in the layout of the run's own data, unless columns were named. */
  private static Dataset<Row> layout(AdapterSource source, InputData input, Dataset<Row> rows) {
    return source instanceof AdapterSource.FromRun run && input.input().equals(DataConfig.TURNS)
        ? InstructionRows.of(rows, run.recipe().data())
        : rows;
  }

  private static MediaFiles files(EmbeddedSpark spark, InputData input) {
    return MediaFiles.beside(spark.session(), input.path(), input.format());
  }

  private static InputData testData(AdapterSource source) {
    if (source instanceof AdapterSource.FromRun run && !run.recipe().data().test().isEmpty()) {
      var data = run.recipe().data();
      return new InputData(
          data.test(),
          data.format(),
          data.options(),
          data.input(run.recipe().model().task()),
          data.textPair(),
          data.rejected(),
          data.label(),
          data.task());
    }
    throw new ConfigException("--data", "name the data to evaluate on");
  }

  private static StackedAdapters adapters(AdapterSource source) {
    if (source instanceof AdapterSource.FromRun run) {
      TunedAdapter own = TunedAdapter.read(new RunFolder(localDirectory(run.recipe())).adapter());
      return StackedAdapters.of(own.runtime(), own.parameters());
    }
    if (source instanceof AdapterSource.Stack stack) {
      return StackedAdapters.of(
          stack.adapters().stream()
              .map(
                  each ->
                      new StackedAdapters.Named(
                          each.name(),
                          adapter(each.adapter(), stack.model(), stack.labels()),
                          each.weight()))
              .toList(),
          stack.head().isEmpty() ? Optional.empty() : Optional.of(stack.head()));
    }
    AdapterSource.FromDirectory from = (AdapterSource.FromDirectory) source;
    TunedAdapter one = adapter(from.adapter(), from.model(), from.labels());
    return StackedAdapters.of(one.runtime(), one.parameters());
  }

  private static TunedAdapter adapter(String folder, ModelConfig model, List<String> labels) {
    Optional<TaskConfig> task =
        labels.isEmpty()
            ? Optional.empty()
            : Optional.of(new TaskConfig(model.task(), labels, model.pooling(), model.maxLength()));
    return TunedAdapter.read(Path.of(folder), Optional.of(model.path()), task);
  }

  @Override
  public Outcome predict(PredictRequest request) {
    try (EmbeddedSpark spark = EmbeddedSpark.open(request.spark(), "predict")) {
      StackedAdapters adapter = adapters(request.source());
      Predictions predictions = new Predictions(adapter);
      if (request.data().isEmpty()) {
        return request.files().isEmpty()
            ? predictions.ofTexts(request.texts(), request.taskName())
            : predictions.ofFiles(spark.session(), request.files(), request.taskName());
      }
      InputData input = request.data().get();
      Dataset<Row> rows =
          new DataReader(spark.session()).read(input.path(), input.format(), input.options());
      return predictions.ofRows(
          PredictionJob.withLogits(
              rows, input.input(), input.task(), files(spark, input), adapter, Predictions.LOGITS),
          request.out());
    }
  }

  @Override
  public Outcome generate(GenerateRequest request) {
    if (request.data().isPresent()) {
      return generate(request, request.data().get());
    }
    if (request.perplexity()) {
      return perplexities(request);
    }
    List<List<String>> found =
        generation(request).continuations(request.texts(), request.settings());
    List<Map<String, Object>> rows = new ArrayList<>();
    List<String> lines = new ArrayList<>();
    for (int i = 0; i < found.size(); i++) {
      rows.add(Map.of("text", request.texts().get(i), "generated", found.get(i)));
      lines.addAll(found.get(i));
    }
    return Outcome.of(String.join(System.lineSeparator(), lines), Map.of("generated", rows));
  }

  private static Outcome perplexities(GenerateRequest request) {
    List<Double> found = generation(request).perplexities(request.texts());
    List<Map<String, Object>> rows = new ArrayList<>();
    List<String> lines = new ArrayList<>();
    for (int i = 0; i < found.size(); i++) {
      rows.add(Map.of("text", request.texts().get(i), "perplexity", found.get(i)));
      lines.add(
          String.format(java.util.Locale.ROOT, "%12.4f  %s", found.get(i), request.texts().get(i)));
    }
    return Outcome.of(String.join(System.lineSeparator(), lines), Map.of("perplexity", rows));
  }

  private static Outcome generate(GenerateRequest request, InputData input) {
    TextGeneration generation = generation(request);
    generation.config(request.settings()); // A wrong setting fails here, not on the executors.
    try (EmbeddedSpark spark = EmbeddedSpark.open(request.spark(), "generate")) {
      Dataset<Row> rows =
          new DataReader(spark.session()).read(input.path(), input.format(), input.options());
      String format =
          Predictions.write(
              GenerationJob.withContinuations(
                  rows, input.input(), input.task(), generation, request.settings(), "generated"),
              request.out());
      return Outcome.of(
          "texts written to " + request.out() + " as " + format,
          Map.of("out", request.out(), "format", format));
    }
  }

  private static TextGeneration generation(GenerateRequest request) {
    TextGeneration model =
        request.run().isEmpty()
            ? TextGeneration.of(request.model(), request.adapter(), request.maxLength())
            : TextGeneration.of(TunedAdapter.read(Path.of(request.run(), "adapter")));
    TextGeneration all =
        request.proxy().map(proxy -> withProxy(model, proxy, request.maxLength())).orElse(model);
    return request.taskName().isEmpty() ? all : all.ofTask(request.taskName());
  }

  private static TextGeneration withProxy(TextGeneration model, ProxyInput proxy, int maxLength) {
    return model.withProxy(proxy.model(), proxy.adapter(), proxy.base(), proxy.alpha(), maxLength);
  }

  @Override
  public Outcome pull(
      String name,
      String revision,
      Path folder,
      Map<String, String> variables,
      Consumer<String> progress) {
    String endpoint = variables.getOrDefault("HF_ENDPOINT", "https://huggingface.co");
    if (!endpoint.matches("https?://[^/\\s]+/?")) {
      throw new ConfigException(
          "HF_ENDPOINT", "must be an address such as https://huggingface.co, got " + endpoint);
    }
    Optional<String> token =
        Optional.ofNullable(variables.get("HF_TOKEN")).filter(value -> !value.isBlank());
    ModelHub.Pulled pulled =
        new ModelHub(URI.create(endpoint), token).pull(name, revision, folder, progress);
    return Outcome.of(
        name + " is in " + folder,
        Map.of(
            "folder", folder.toString(),
            "commit", pulled.commit(),
            "files", pulled.files(),
            "bytes", pulled.bytes()));
  }
}
