package org.sparkpeft.federated.round;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.sparkpeft.core.io.AtomicFiles;
import org.sparkpeft.core.io.Sha256;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.train.Evaluation;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.federated.client.ClientStore;
import org.sparkpeft.federated.client.DataReader;
import org.sparkpeft.federated.client.EvaluationJob;
import org.sparkpeft.federated.client.ExampleShards;
import org.sparkpeft.federated.client.ExecutorRuntime;
import org.sparkpeft.federated.client.FederatedData;
import org.sparkpeft.federated.client.RuntimeSpec;
import org.sparkpeft.federated.client.StackedAdapters;
import org.sparkpeft.federated.client.TextEvaluationJob;
import org.sparkpeft.federated.client.TunedAdapter;
import org.sparkpeft.federated.config.EvaluateConfig;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.config.RecipeWriter;
import org.sparkpeft.federated.server.Checkpoint;
import org.sparkpeft.federated.server.CheckpointStore;
import org.sparkpeft.federated.server.RunFolder;
import org.sparkpeft.federated.server.ServerOptimizer;

/**
 * A whole run: data, preflight, rounds, evaluation, references, export. The run folder holds
 * everything needed to go on after any complete round; going on gives the same bits as never having
 * stopped.
 */
public final class FederatedRun {
  private final SparkSession session;
  private final JavaSparkContext spark;
  private final Recipe recipe;
  private final RunListener events;

  public FederatedRun(SparkSession session, Recipe recipe, RunListener events) {
    this.session = session;
    this.spark = JavaSparkContext.fromSparkContext(session.sparkContext());
    this.recipe = recipe;
    this.events = events;
  }

  /**
   * What a run leaves.
   *
   * @param folder where
   * @param runtime base model, task and method
   * @param parameters final global parameters
   * @param adapterSha256 SHA-256 of {@code adapter/adapter_model.safetensors}
   */
  public record Result(
      RunFolder folder, RuntimeSpec runtime, ParameterVector parameters, String adapterSha256) {}

  /** What a run would do; made without training. */
  public record Plan(
      int clients,
      long trainExamples,
      long testExamples,
      List<String> labels,
      int cohort,
      int rounds,
      long trainableParameters) {}

  /** Reads the data the recipe names and runs. */
  public Result run(RunFolder folder, boolean resume) {
    return run(folder, resume, trainRows(), testRows());
  }

  /**
   * Everything up to the first model byte: binds, reads and checks, without writing to a run
   * folder's checkpoints.
   */
  public Plan plan(RunFolder folder) {
    return plan(folder, trainRows(), testRows());
  }

  private Dataset<Row> trainRows() {
    return new DataReader(session)
        .read(recipe.data().train(), recipe.data().format(), recipe.data().options());
  }

  private Optional<Dataset<Row>> testRows() {
    return recipe.data().test().isBlank()
        ? Optional.empty()
        : Optional.of(
            new DataReader(session)
                .read(recipe.data().test(), recipe.data().format(), recipe.data().options()));
  }

  private Plan plan(RunFolder folder, Dataset<Row> train, Optional<Dataset<Row>> test) {
    Preflight preflight = new Preflight(spark, recipe);
    preflight.cluster();
    try (FederatedData data = FederatedData.prepare(train, test, recipe)) {
      TunableModel model = ExecutorRuntime.of(data.runtime()).model();
      preflight.run(
          data.runtime(),
          store(folder),
          folder,
          data.clients().names().size(),
          model.layout().size(),
          model.baseBytes());
      return new Plan(
          data.clients().names().size(),
          data.clients().numExamples(),
          data.test().map(ExampleShards::numExamples).orElse(0L),
          data.runtime().task().labels(),
          recipe.rounds().cohortSize(data.clients().names().size()),
          recipe.rounds().count(),
          model.layout().size());
    }
  }

  /**
   * Runs on rows that are there already.
   *
   * @param resume go on from the folder's last checkpoint, if there is one
   */
  public Result run(
      RunFolder folder, boolean resume, Dataset<Row> train, Optional<Dataset<Row>> test) {
    Preflight preflight = new Preflight(spark, recipe);
    preflight.cluster();
    try (FederatedData data = FederatedData.prepare(train, test, recipe)) {
      TunableModel model = ExecutorRuntime.of(data.runtime()).model();
      ClientStore store = store(folder);
      preflight.run(
          data.runtime(),
          store,
          folder,
          data.clients().names().size(),
          model.layout().size(),
          model.baseBytes());
      AtomicFiles.write(
          folder.config(), RecipeWriter.write(recipe).getBytes(StandardCharsets.UTF_8));
      CheckpointStore checkpoints = new CheckpointStore(folder.checkpoints(), model.layout());
      long seed = recipe.run().seed();
      MethodState method = model.initialState(seed);
      RuntimeSpec started = data.runtime().withState(method);
      ParameterVector initial = model.withState(method).initialParameters(seed);
      Optional<Checkpoint> found = resume ? checkpoints.latest() : Optional.empty();
      Checkpoint state =
          found.orElseGet(
              () -> Checkpoint.start(ServerOptimizer.of(recipe.server()).initial(initial), method));
      announce(model, data, state);

      Federation federation =
          new Federation(
              spark,
              recipe,
              data.clients(),
              data.runtime(),
              model,
              store,
              folder.path().toString(),
              events);
      while (state.round() < recipe.rounds().count()) {
        Federation.Round round = federation.run(state);
        checkpoints.write(round.checkpoint());
        events.on(round.finished());
        prune(store, state, round.checkpoint());
        state = round.checkpoint();
        evaluateRound(data, state);
      }
      RuntimeSpec runtime = data.runtime().withState(state.method());
      ParameterVector parameters = state.server().parameters();
      evaluate(data, runtime, "final", state.round(), parameters);
      if (recipe.evaluate().perClient()) {
        evaluateClients(data, runtime, parameters);
      }
      new References(spark, recipe, data, events).run(started, initial);
      return export(folder, runtime, parameters);
    }
  }

  /** The place for clients' state. */
  private static ClientStore store(RunFolder folder) {
    return new ClientStore(folder.clients().toString());
  }

  private void announce(TunableModel model, FederatedData data, Checkpoint state) {
    events.on(
        new RunEvent.RunStarted(
            recipe.run().name(),
            recipe.run().seed(),
            recipe.rounds().count(),
            state.round(),
            model.layout().size(),
            model.baseParameters(),
            data.runtime().task().labels(),
            data.clients().labelCounts(),
            Versions.running()));
  }

  /**
   * Keeps a client's last two states: the next round reads the last, and going back one checkpoint
   * the one before.
   */
  private static void prune(ClientStore store, Checkpoint before, Checkpoint after) {
    after
        .clientVersions()
        .forEach(
            (client, version) -> {
              int earlier = before.clientVersions().getOrDefault(client, 0);
              if (version > earlier) {
                store.prune(client, earlier);
              }
            });
  }

  private void evaluateRound(FederatedData data, Checkpoint state) {
    int every = recipe.evaluate().every();
    boolean last = state.round() == recipe.rounds().count();
    if (every > 0 && state.round() % every == 0 && !last) {
      RuntimeSpec runtime = data.runtime().withState(state.method());
      evaluate(data, runtime, "round", state.round(), state.server().parameters());
    }
  }

  private void evaluate(
      FederatedData data, RuntimeSpec runtime, String what, int round, ParameterVector parameters) {
    if (data.test().isPresent()) {
      events.on(evaluation(spark, recipe.evaluate(), data, runtime, what, round, parameters));
    }
  }

  /**
   * Evaluates on all test rows and sums up. Texts are generated after the last round, and after
   * others as often as the recipe says.
   */
  static RunEvent.Evaluated evaluation(
      JavaSparkContext spark,
      EvaluateConfig config,
      FederatedData data,
      RuntimeSpec runtime,
      String what,
      int round,
      ParameterVector parameters) {
    long began = System.nanoTime();
    spark.setJobDescription("evaluation, " + what + (round > 0 ? " " + round : ""));
    Evaluation sum =
        EvaluationJob.run(spark, data.test().orElseThrow(), runtime, parameters).values().stream()
            .reduce(Evaluation::merge)
            .orElseThrow();
    int every = config.generate().every();
    boolean generates = !what.equals("round") || (every > 0 && round % every == 0);
    SortedMap<String, Double> texts =
        data.references()
            .filter(references -> generates)
            .map(
                references ->
                    TextEvaluationJob.run(
                            references,
                            StackedAdapters.of(runtime, parameters),
                            config.textMetrics(),
                            config.generate())
                        .values())
            .orElseGet(TreeMap::new);
    return new RunEvent.Evaluated(
        what,
        round,
        sum.items(),
        shown(sum.metrics(), texts, config.metrics()),
        (System.nanoTime() - began) * 1e-9);
  }

  /**
   * The metrics asked for and the loss; all that are counted where the task has none of those asked
   * for.
   */
  private static SortedMap<String, Double> shown(
      SortedMap<String, Double> metrics, SortedMap<String, Double> texts, List<String> shown) {
    SortedMap<String, Double> kept = new TreeMap<>(metrics);
    kept.keySet().removeIf(name -> !shown.contains(name));
    kept.putAll(texts);
    if (kept.isEmpty()) {
      return metrics;
    }
    kept.putAll(metrics.subMap("loss", "loss\0"));
    return kept;
  }

  private void evaluateClients(
      FederatedData data, RuntimeSpec runtime, ParameterVector parameters) {
    boolean onTest = data.testHasClients();
    ExampleShards shards = onTest ? data.test().orElseThrow() : data.clients();
    SortedMap<String, Evaluation> evaluations =
        EvaluationJob.run(spark, shards, runtime, parameters);
    evaluations.forEach(
        (client, evaluation) -> {
          Map<String, Double> metrics = evaluation.metrics();
          if (metrics.containsKey("accuracy")) {
            events.on(
                new RunEvent.ClientEvaluated(
                    client,
                    onTest ? "test" : "train",
                    evaluation.items(),
                    metrics.get("accuracy")));
          }
        });
  }

  private Result export(RunFolder folder, RuntimeSpec runtime, ParameterVector parameters) {
    TunedAdapter.write(folder.adapter(), runtime, parameters);
    if (recipe.model().fuse()) {
      ExecutorRuntime.of(runtime).model().exportFused(parameters, folder.merged());
    }
    Path tensors = folder.adapter().resolve("adapter_model.safetensors");
    try {
      String sha256 = Sha256.hex(tensors);
      SortedMap<String, Object> summary = new TreeMap<>();
      summary.put("adapter_sha256", sha256);
      events.on(new RunEvent.RunFinished(summary));
      return new Result(folder, runtime, parameters, sha256);
    } catch (IOException e) {
      throw new UncheckedIOException("reading " + tensors, e);
    }
  }
}
