package org.sparkpeft.federated.round;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.spark.api.java.JavaSparkContext;
import org.sparkpeft.core.peft.HeadOnlyConfig;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.federated.client.ExampleShards;
import org.sparkpeft.federated.client.ExecutorRuntime;
import org.sparkpeft.federated.client.FederatedData;
import org.sparkpeft.federated.client.PooledTraining;
import org.sparkpeft.federated.client.RuntimeSpec;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.server.Checkpoint;
import org.sparkpeft.federated.server.RunFolder;
import org.sparkpeft.federated.server.ServerOptimizer;

/**
 * What a run is compared with, as far as the recipe asks: the untrained head; the same federation
 * training only the head; the same adapter trained on all examples in one place with as many passes
 * over them as the clients made.
 */
final class References {
  private final JavaSparkContext spark;
  private final Recipe recipe;
  private final FederatedData data;
  private final RunFolder folder;
  private final RunListener events;

  References(
      JavaSparkContext spark,
      Recipe recipe,
      FederatedData data,
      RunFolder folder,
      RunListener events) {
    this.spark = spark;
    this.recipe = recipe;
    this.data = data;
    this.folder = folder;
    this.events = events;
  }

  /**
   * Runs them, the two that train side by side.
   *
   * @param initial the adapter's initial parameters
   */
  void run(ParameterVector initial) {
    List<String> wanted = recipe.evaluate().references();
    if (wanted.contains("baseline")) {
      publish("baseline", data.runtime(), initial);
    }
    ExecutorService pool = Executors.newFixedThreadPool(2);
    try {
      List<Future<?>> running = new ArrayList<>();
      if (wanted.contains("central")) {
        running.add(pool.submit(() -> publish("central", data.runtime(), central(initial))));
      }
      if (wanted.contains("head_only")) {
        RuntimeSpec runtime =
            data.runtime().withPeft(new HeadOnlyConfig(recipe.peft().modulesToSave()));
        running.add(pool.submit(() -> publish("head_only", runtime, headOnly(runtime))));
      }
      for (Future<?> reference : running) {
        reference.get();
      }
    } catch (ExecutionException e) {
      throw e.getCause() instanceof RuntimeException cause
          ? cause
          : new IllegalStateException(e.getCause());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    } finally {
      pool.shutdownNow();
    }
  }

  private ParameterVector central(ParameterVector initial) {
    TrainConfig train = recipe.train();
    double share =
        (double) recipe.rounds().cohortSize(data.clients().names().size())
            / data.clients().names().size();
    int passes =
        (int) Math.max(1, Math.round(recipe.rounds().count() * share * train.localEpochs()));
    spark.setJobDescription("central training, " + passes + " passes");
    return PooledTraining.run(
        spark,
        data.clients(),
        data.runtime(),
        train.withLocalEpochs(passes),
        recipe.run().seed(),
        initial);
  }

  private ParameterVector headOnly(RuntimeSpec runtime) {
    TunableModel model = ExecutorRuntime.of(runtime).model();
    ParameterVector initial = model.initialParameters(recipe.run().seed());
    Federation federation =
        new Federation(
            spark,
            recipe,
            data.clients(),
            runtime,
            model.layout(),
            FederatedRun.store(folder, "-head-only"),
            folder.path() + "#head-only",
            event -> {});
    Checkpoint state = Checkpoint.start(ServerOptimizer.of(recipe.server()).initial(initial));
    while (state.round() < recipe.rounds().count()) {
      state = federation.run(state).checkpoint();
    }
    return state.server().parameters();
  }

  private void publish(String what, RuntimeSpec runtime, ParameterVector parameters) {
    ExampleShards test = data.test().orElseThrow();
    RunEvent.Evaluated evaluated =
        FederatedRun.evaluation(
            spark, test, runtime, what, 0, parameters, recipe.evaluate().metrics());
    synchronized (events) {
      events.on(evaluated);
    }
  }
}
