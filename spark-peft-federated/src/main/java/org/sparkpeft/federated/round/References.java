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
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.federated.client.ExecutorRuntime;
import org.sparkpeft.federated.client.FederatedData;
import org.sparkpeft.federated.client.PooledTraining;
import org.sparkpeft.federated.client.RuntimeSpec;
import org.sparkpeft.federated.client.TunedAdapter;
import org.sparkpeft.federated.config.Recipe;

/**
 * What a run is compared with, as far as the recipe asks: the untrained head; and, trained on all
 * examples in one place with as many passes over them as the clients made, the head alone and the
 * same adapter.
 */
final class References {
  private final JavaSparkContext spark;
  private final Recipe recipe;
  private final FederatedData data;
  private final RunListener events;

  References(JavaSparkContext spark, Recipe recipe, FederatedData data, RunListener events) {
    this.spark = spark;
    this.recipe = recipe;
    this.data = data;
    this.events = events;
  }

  /**
   * Runs them, the two that train side by side.
   *
   * @param runtime model, task and method in its initial state
   * @param initial the adapter's initial parameters
   */
  void run(RuntimeSpec runtime, ParameterVector initial) {
    List<String> wanted = recipe.evaluate().references();
    if (wanted.contains("baseline")) {
      publish("baseline", runtime, initial);
    }
    ExecutorService pool = Executors.newFixedThreadPool(2);
    try {
      List<Future<?>> running = new ArrayList<>();
      if (wanted.contains("central")) {
        running.add(pool.submit(() -> train("central", runtime, initial)));
      }
      if (wanted.contains("head_only")) {
        RuntimeSpec headOnly =
            data.runtime().withPeft(new HeadOnlyConfig(recipe.peft().modulesToSave()));
        ParameterVector untrained =
            ExecutorRuntime.of(headOnly).model().initialParameters(recipe.run().seed());
        running.add(pool.submit(() -> train("head_only", headOnly, untrained)));
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

  private void train(String what, RuntimeSpec runtime, ParameterVector initial) {
    TrainConfig train = recipe.train();
    double share =
        (double) recipe.rounds().cohortSize(data.clients().names().size())
            / data.clients().names().size();
    int passes =
        (int) Math.max(1, Math.round(recipe.rounds().count() * share * train.localEpochs()));
    spark.setJobDescription(what + ", pooled data, " + passes + " passes");
    TunedAdapter trained =
        PooledTraining.run(
            spark,
            data.clients(),
            runtime,
            train.withLocalEpochs(passes),
            recipe.run().seed(),
            initial);
    publish(what, trained.runtime(), trained.parameters());
  }

  private void publish(String what, RuntimeSpec runtime, ParameterVector parameters) {
    RunEvent.Evaluated evaluated =
        FederatedRun.evaluation(spark, recipe.evaluate(), data, runtime, what, 0, parameters);
    synchronized (events) {
      events.on(evaluated);
    }
  }
}
