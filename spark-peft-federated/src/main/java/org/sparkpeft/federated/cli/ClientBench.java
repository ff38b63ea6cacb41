package org.sparkpeft.federated.cli;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.function.Consumer;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.federated.aggregate.Aggregator;
import org.sparkpeft.federated.client.ClientGroups;
import org.sparkpeft.federated.client.ClientResult;
import org.sparkpeft.federated.client.ClientStore;
import org.sparkpeft.federated.client.ExecutorRuntime;
import org.sparkpeft.federated.client.FederatedData;
import org.sparkpeft.federated.client.FoldedUpdates;
import org.sparkpeft.federated.client.RoundJob;
import org.sparkpeft.federated.client.RoundOrder;
import org.sparkpeft.federated.client.RuntimeSpec;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.merge.compress.Codec;
import org.sparkpeft.merge.compress.CodecConfig;
import org.sparkpeft.merge.compress.PayloadHeader;

/**
 * Trains the same clients one by one and in shared passes, in turns, as the Spark job of a round:
 * from the start of the job to the sum of all updates. The clients are made up: texts of random
 * words, all of one length.
 */
final class ClientBench {
  static final List<String> COLUMNS =
      List.of(
          "turn",
          "one_by_one_clients_per_minute",
          "shared_clients_per_minute",
          "ratio",
          "loss_gap");

  private static final List<String> WORDS =
      List.of(
          "the", "city", "water", "music", "house", "story", "river", "game", "school", "light",
          "world", "market", "train", "family", "garden", "winter", "money", "book", "party",
          "road");

  private static final int LABELS = 4;

  private final Recipe recipe;
  private final Actions.ClientBenchOptions options;

  /**
   * @param recipe model, method, training and Spark; its clients are those of {@code options}
   */
  ClientBench(Recipe recipe, Actions.ClientBenchOptions options) {
    this.recipe = recipe;
    this.options = options;
  }

  /** One row for each turn, and one with the medians. */
  List<Map<String, Object>> run(SparkSession session, Consumer<String> progress) {
    try (FederatedData data = FederatedData.prepare(texts(session), Optional.empty(), recipe)) {
      TunableModel model = ExecutorRuntime.of(data.runtime()).model().started(recipe.run().seed());
      model
          .whyOneByOne()
          .ifPresent(
              reason -> {
                throw new ConfigException("peft", "clients cannot share passes: " + reason);
              });
      Path scratch = Files.createTempDirectory("spark-peft-bench");
      try {
        return turns(session, data, model, new ClientStore(scratch.toString()), progress);
      } finally {
        org.apache.commons.io.FileUtils.deleteDirectory(scratch.toFile());
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private List<Map<String, Object>> turns(
      SparkSession session,
      FederatedData data,
      TunableModel model,
      ClientStore store,
      Consumer<String> progress) {
    int shared = recipe.train().clientsPerPass().clients(recipe.train().batchSize());
    List<Map<String, Object>> rows = new ArrayList<>();
    for (int turn = 0; turn <= options.turns(); turn++) {
      Timed alone = round(session, data, model, store, 1);
      Timed together = round(session, data, model, store, shared);
      if (turn > 0) { // the first warms up
        rows.add(
            row(
                Integer.toString(turn),
                perMinute(alone.seconds),
                perMinute(together.seconds),
                alone.seconds / together.seconds,
                Math.abs(alone.loss - together.loss) / alone.loss));
        progress.accept(
            String.format(
                Locale.ROOT,
                "turn %d: %.2f times as many",
                turn,
                alone.seconds / together.seconds));
      }
    }
    rows.add(
        row(
            "median",
            median(rows, COLUMNS.get(1)),
            median(rows, COLUMNS.get(2)),
            median(rows, COLUMNS.get(3)),
            median(rows, COLUMNS.get(4))));
    return rows;
  }

  private static Map<String, Object> row(String turn, double... values) {
    Map<String, Object> row = new LinkedHashMap<>();
    row.put(COLUMNS.get(0), turn);
    for (int i = 0; i < values.length; i++) {
      row.put(COLUMNS.get(i + 1), values[i]);
    }
    return row;
  }

  private double perMinute(double seconds) {
    return options.clients() * 60 / seconds;
  }

  private static double median(List<Map<String, Object>> rows, String column) {
    double[] sorted = rows.stream().mapToDouble(row -> (Double) row.get(column)).sorted().toArray();
    int half = sorted.length / 2;
    return sorted.length % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  }

  /**
   * What a round took.
   *
   * @param loss mean training loss of all clients
   */
  private record Timed(double seconds, double loss) {}

  private Timed round(
      SparkSession session,
      FederatedData data,
      TunableModel model,
      ClientStore store,
      int together) {
    SortedMap<String, Integer> cohort = new TreeMap<>();
    data.clients().names().forEach(name -> cohort.put(name, 0));
    RoundOrder order =
        new RoundOrder(
            recipe.run().name() + "-" + System.identityHashCode(this),
            recipe.run().seed(),
            1,
            0,
            1,
            recipe.train(),
            0,
            recipe.compress().uplink(),
            cohort,
            together > 1
                ? ClientGroups.of(cohort.keySet(), data.clients()::numExamples, together)
                : List.of(),
            0);
    RuntimeSpec runtime = data.runtime().withState(model.state());
    ParameterVector start = model.initialParameters(recipe.run().seed());
    ParameterVector zeros = ParameterVector.zeros(model.layout());
    long began = System.nanoTime();
    try (RoundJob job =
        new RoundJob(
            JavaSparkContext.fromSparkContext(session.sparkContext()),
            data.clients(),
            runtime,
            store,
            order,
            new Aggregator.Cohort(cohort.size(), data.clients().numExamples()),
            Aggregator.of(recipe.aggregate()),
            model.layout(),
            payload(zeros, zeros),
            payload(start, zeros))) {
      List<ClientResult> results =
          job.submit().get().stream()
              .flatMap(part -> FoldedUpdates.fromBytes(part).clients().stream())
              .toList();
      double seconds = (System.nanoTime() - began) * 1e-9;
      for (ClientResult result : results) {
        if (!result.isOk()) {
          throw new IllegalStateException(
              "client " + result.clientId() + " " + result.status() + ": " + result.error());
        }
      }
      return new Timed(
          seconds, results.stream().mapToDouble(ClientResult::loss).average().orElseThrow());
    } catch (ExecutionException e) {
      throw new IllegalStateException("the round failed: " + e.getMessage(), e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }

  private static byte[] payload(ParameterVector values, ParameterVector from) {
    return Codec.of(CodecConfig.uncompressed())
        .encode(values.minus(from), PayloadHeader.of(1, "server", values.layout()));
  }

  /** Texts that are cut to the wanted number of tokens. */
  private Dataset<Row> texts(SparkSession session) {
    int rows = recipe.train().localSteps() * recipe.train().batchSize();
    List<Row> all = new ArrayList<>();
    for (int client = 0; client < options.clients(); client++) {
      for (int i = 0; i < rows; i++) {
        Philox random = Philox.of(recipe.run().seed(), "bench", client).child(i);
        String[] words = new String[recipe.model().maxLength()];
        Arrays.setAll(words, w -> WORDS.get((int) (random.doubleAt(w) * WORDS.size())));
        all.add(
            RowFactory.create(
                String.join(" ", words),
                "label-" + (client + i) % LABELS,
                String.format(Locale.ROOT, "client-%04d", client)));
      }
    }
    StructType schema =
        new StructType()
            .add("text", DataTypes.StringType)
            .add("label", DataTypes.StringType)
            .add("client", DataTypes.StringType);
    return session.createDataFrame(all, schema);
  }
}
