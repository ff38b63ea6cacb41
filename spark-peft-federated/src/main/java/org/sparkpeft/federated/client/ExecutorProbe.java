package org.sparkpeft.federated.client;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.UUID;
import org.apache.spark.SparkEnv;
import org.apache.spark.api.java.JavaSparkContext;
import org.sparkpeft.core.engine.TorchEngine;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problem;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.WeightSource;

/**
 * Asks every executor, before anything is trained, whether it can: engine, device, model, client
 * store.
 */
public final class ExecutorProbe {
  private ExecutorProbe() {}

  /**
   * One answer.
   *
   * @param executor Spark's executor id
   * @param setting the recipe key at fault, empty when all is well
   * @param problem what is wrong, empty when all is well
   */
  public record Answer(String executor, String setting, String problem) {
    public boolean isOk() {
      return problem.isEmpty();
    }
  }

  /**
   * Runs as many small tasks as there are slots, so that each executor gets some.
   *
   * @param slots tasks that can run at once
   */
  public static List<Answer> run(
      JavaSparkContext spark, int slots, RuntimeSpec runtime, ClientStore store) {
    String token = UUID.randomUUID().toString();
    store.probe(token);
    try {
      List<Integer> tasks = Collections.nCopies(Math.max(1, slots), 0);
      List<String> answers =
          spark
              .parallelize(tasks, tasks.size())
              .map(task -> answer(runtime, store, token))
              .collect();
      return answers.stream().distinct().sorted().map(ExecutorProbe::parse).toList();
    } finally {
      store.endProbe(token);
    }
  }

  private static final String SEPARATOR = "\u001F";

  private static String answer(RuntimeSpec runtime, ClientStore store, String token) {
    List<String> answer = new ArrayList<>(List.of(SparkEnv.get().executorId()));
    try {
      TorchEngine.version();
      TaskDevice.require(TaskDevice.current(runtime.mathThreads()));
    } catch (ConfigException e) {
      Problem problem = e.problems().get(0);
      return String.join(SEPARATOR, answer.get(0), problem.key(), problem.message());
    } catch (RuntimeException | LinkageError e) {
      return String.join(
          SEPARATOR,
          answer.get(0),
          "spark.master",
          "the PyTorch engine does not load: " + OwnFrame.message(e));
    }
    try (WeightSource weights = ModelDirectory.resolve(runtime.model()).weights()) {
      if (weights.names().isEmpty()) {
        return String.join(
            SEPARATOR, answer.get(0), "model.path", runtime.model() + " has no weights");
      }
    } catch (RuntimeException e) {
      return String.join(SEPARATOR, answer.get(0), "model.path", OwnFrame.message(e));
    }
    if (!store.sees(token)) {
      return String.join(
          SEPARATOR,
          answer.get(0),
          "run.dir",
          store.root()
              + " is not the driver's folder there; choose one on storage that all machines share");
    }
    return String.join(SEPARATOR, answer.get(0), "", "");
  }

  private static Answer parse(String answer) {
    String[] parts = answer.split(SEPARATOR, -1);
    return new Answer(parts[0], parts[1], parts[2]);
  }
}
