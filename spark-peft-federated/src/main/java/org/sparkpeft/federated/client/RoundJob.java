package org.sparkpeft.federated.client;

import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.spark.api.java.JavaFutureAction;
import org.apache.spark.api.java.JavaRDD;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.broadcast.Broadcast;
import org.apache.spark.util.LongAccumulator;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.federated.aggregate.Aggregator;
import scala.Tuple2;

/**
 * The Spark job of a round, in two stages: clients train where their data is and hand over
 * compressed payloads; fold tasks, about the square root as many, decode and add them. Only sums
 * reach the driver.
 */
public final class RoundJob implements AutoCloseable {
  private final Broadcast<byte[]> update;
  private final Broadcast<byte[]> snapshot;
  private final JavaRDD<byte[]> folded;
  private final String trainingName;
  private final LongAccumulator heartbeat;
  private final Map<Integer, List<String>> clientsOfTask;

  /**
   * @param clients every client's shard
   * @param cohort the whole cohort, even where the order goes to fewer clients
   * @param update payload of the global update of this round
   * @param snapshot dense payload of the global parameters before it
   */
  public RoundJob(
      JavaSparkContext spark,
      ExampleShards clients,
      RuntimeSpec runtime,
      ClientStore store,
      RoundOrder order,
      Aggregator.Cohort cohort,
      Aggregator aggregator,
      ParameterLayout layout,
      byte[] update,
      byte[] snapshot) {
    this.update = spark.broadcast(update);
    this.snapshot = spark.broadcast(snapshot);
    this.heartbeat = spark.sc().longAccumulator("training steps of round " + order.round());
    this.trainingName = "clients of round " + order.round() + " of " + order.runId();
    int buckets = buckets(spark, order.cohort().size());
    JavaRDD<byte[]> shards =
        order.groups().isEmpty()
            ? clients.partitionsWith(order.cohort().keySet())
            : clients.together(order.groups());
    JavaRDD<byte[]> results =
        shards.mapPartitions(
            new TrainClients(runtime, order, store, this.update, this.snapshot, heartbeat));
    results.setName(trainingName);
    this.clientsOfTask = new TreeMap<>();
    if (order.groups().isEmpty()) {
      clientsOfTask.putAll(clients.clientsByTask(order.cohort().keySet()));
    } else {
      order.groups().forEach(group -> clientsOfTask.put(clientsOfTask.size(), group));
    }
    this.folded =
        results
            .mapToPair(bytes -> new Tuple2<>(bucketOf(bytes, buckets), bytes))
            .partitionBy(new org.apache.spark.HashPartitioner(buckets))
            .mapPartitions(
                pairs -> new FoldResults(aggregator, layout, cohort, order.round()).call(pairs));
  }

  /** Fold tasks for a cohort, each of which sends one set of partial sums to the driver. */
  public static int buckets(JavaSparkContext spark, int cohortSize) {
    return Math.max(
        1, Math.min(spark.defaultParallelism(), (int) Math.ceil(Math.sqrt(cohortSize))));
  }

  private static int bucketOf(byte[] result, int buckets) {
    return (int)
        Long.remainderUnsigned(Philox.hash(ClientResult.fromBytes(result).clientId()), buckets);
  }

  /** Starts the job; its elements are read by {@link FoldedUpdates#fromBytes}. */
  public JavaFutureAction<List<byte[]>> submit() {
    return folded.collectAsync();
  }

  /** Name of the RDD that the training stage computes, by which a listener knows that stage. */
  public String trainingName() {
    return trainingName;
  }

  /** Grows by one with every training step anywhere; arrives with Spark's heartbeats. */
  public long heartbeatId() {
    return heartbeat.id();
  }

  /** The cohort's clients by the index of the training stage's task that calls them. */
  public Map<Integer, List<String>> clientsOfTask() {
    return new TreeMap<>(clientsOfTask);
  }

  @Override
  public void close() {
    update.destroy();
    snapshot.destroy();
  }
}
