package org.sparkpeft.federated.search;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.SortedMap;
import org.apache.spark.HashPartitioner;
import org.apache.spark.api.java.JavaPairRDD;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.storage.StorageLevel;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.train.AdapterImport;
import org.sparkpeft.core.train.Evaluation;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.federated.client.CandidateJob;
import org.sparkpeft.federated.client.DataReader;
import org.sparkpeft.federated.client.ExampleShards;
import org.sparkpeft.federated.client.ExecutorRuntime;
import org.sparkpeft.federated.client.FederatedData;
import org.sparkpeft.federated.client.MediaFiles;
import org.sparkpeft.federated.client.RuntimeSpec;
import org.sparkpeft.federated.client.TunedAdapter;
import org.sparkpeft.merge.adapter.StoredAdapter;
import org.sparkpeft.merge.recipe.SearchConfig;
import org.sparkpeft.merge.recipe.SearchTask;

/**
 * Scores adapters that differ from a template in their values only, on one or several tasks. The
 * examples are tokenised once and stay on the executors.
 */
final class CandidateScores implements AutoCloseable {
  private final SearchConfig config;
  private final List<String> names;
  private final List<Tried> tasks = new ArrayList<>();

  /** A task, ready to be tried. */
  private record Tried(StoredAdapter template, RuntimeSpec runtime, ExampleShards shards) {}

  /**
   * Prepares the tasks.
   *
   * @param template an adapter as all candidates are, with the values of any of them
   * @param first the adapter that knows the task where no head is named
   * @throws ConfigException if a task is unknown, or the template does not fit its model
   */
  CandidateScores(SparkSession spark, SearchConfig config, StoredAdapter template, Path first) {
    this.config = config;
    this.names = List.copyOf(template.open().tensors().keySet());
    try {
      for (SearchTask task : config.tasks()) {
        tasks.add(tried(spark, task, template, first));
      }
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  private Tried tried(SparkSession spark, SearchTask task, StoredAdapter template, Path first) {
    Path knows = task.head().isEmpty() ? first : Path.of(task.head());
    Optional<TaskConfig> described =
        task.labels().isEmpty() && !task.task().equals("sentence-embedding")
            ? Optional.empty()
            : Optional.of(
                new TaskConfig(task.task(), task.labels(), task.pooling(), task.maxLength()));
    Optional<String> model =
        config.model().isEmpty() ? Optional.empty() : Optional.of(config.model());
    TunedAdapter tuned = TunedAdapter.read(knows, model, described);
    StoredAdapter complete =
        task.head().isEmpty() ? template : template.withHeadOf(AdapterDirectory.read(knows));
    AdapterDirectory opened = complete.open();
    RuntimeSpec runtime = tuned.runtime().withPeft(AdapterImport.config(opened));
    // What cannot be evaluated is found out here, not in a Spark task.
    ExecutorRuntime.of(runtime).model().importAdapter(opened);
    ExampleShards shards =
        FederatedData.testShards(
            new DataReader(spark).read(task.data(), task.format(), task.options()),
            task.text(),
            task.textPair(),
            "",
            task.label(),
            task.taskColumn(),
            runtime,
            MediaFiles.beside(spark, task.data(), task.format()));
    return new Tried(complete, runtime, shards);
  }

  /**
   * The scores of some candidates, the higher the better: the mean of the metric over the tasks,
   * negative where less is better.
   *
   * @param candidates values as {@link StoredAdapter#values} gives them, by number from 0
   * @param count how many there are
   */
  List<Double> of(JavaPairRDD<Integer, byte[]> candidates, int count) {
    JavaPairRDD<Integer, byte[]> spread =
        candidates.partitionBy(new HashPartitioner(count)).persist(StorageLevel.MEMORY_AND_DISK());
    try {
      double[] sums = new double[count];
      for (Tried task : tasks) {
        List<String> replaced = names;
        StoredAdapter template = task.template();
        SortedMap<Integer, Evaluation> evaluations =
            CandidateJob.run(
                spread,
                task.shards(),
                task.runtime(),
                (values, model) -> model.importAdapter(template.withValues(replaced, values)));
        evaluations.forEach((number, evaluation) -> sums[number] += metric(evaluation));
      }
      List<Double> scores = new ArrayList<>();
      for (double sum : sums) {
        scores.add((config.minimises() ? -1 : 1) * sum / tasks.size());
      }
      return scores;
    } finally {
      spread.unpersist(false);
    }
  }

  private double metric(Evaluation evaluation) {
    Double value = evaluation.metrics().get(config.metric());
    if (value == null) {
      throw new ConfigException(
          "search.metric",
          "the task has "
              + String.join(", ", evaluation.metrics().keySet())
              + ", got "
              + config.metric());
    }
    return value;
  }

  @Override
  public void close() {
    tasks.forEach(task -> task.shards().close());
  }
}
