package org.sparkpeft.federated.round;

import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import org.apache.spark.scheduler.SparkListener;
import org.apache.spark.scheduler.SparkListenerExecutorMetricsUpdate;
import org.apache.spark.scheduler.SparkListenerStageSubmitted;
import org.apache.spark.scheduler.SparkListenerTaskEnd;
import org.apache.spark.scheduler.SparkListenerTaskStart;
import org.sparkpeft.federated.client.RoundJob;
import scala.jdk.javaapi.CollectionConverters;

/**
 * Follows the training stage of one round on Spark's listener bus: which tasks have ended, which
 * keep failing, and when anything last moved. A training step anywhere counts as movement; it
 * arrives with the executors' heartbeats.
 */
final class RoundWatch extends SparkListener {
  private final RoundJob job;
  private final Consumer<Set<Integer>> onTasksDone;
  private final Set<Integer> stages = ConcurrentHashMap.newKeySet();
  private final Set<Integer> done = ConcurrentHashMap.newKeySet();
  private final Map<Integer, Integer> failures = new ConcurrentHashMap<>();
  private final Map<Long, Long> heartbeats = new ConcurrentHashMap<>();
  private final AtomicLong lastMove = new AtomicLong(System.nanoTime());

  /**
   * @param onTasksDone told, on the listener thread, which training tasks have ended
   */
  RoundWatch(RoundJob job, Consumer<Set<Integer>> onTasksDone) {
    this.job = job;
    this.onTasksDone = onTasksDone;
  }

  /** Seconds since anything moved. */
  double secondsSinceMove() {
    return (System.nanoTime() - lastMove.get()) * 1e-9;
  }

  /** Training tasks that have ended well. */
  Set<Integer> done() {
    return Set.copyOf(done);
  }

  /** Training tasks that have not ended well but failed at least once. */
  Set<Integer> failing() {
    return failures.keySet().stream()
        .filter(task -> !done.contains(task))
        .collect(Collectors.toSet());
  }

  @Override
  public void onStageSubmitted(SparkListenerStageSubmitted submitted) {
    boolean trains =
        CollectionConverters.asJava(submitted.stageInfo().rddInfos()).stream()
            .anyMatch(rdd -> rdd.name().equals(job.trainingName()));
    if (trains) {
      stages.add(submitted.stageInfo().stageId());
      moved();
    }
  }

  @Override
  public void onTaskStart(SparkListenerTaskStart start) {
    if (stages.contains(start.stageId())) {
      moved();
    }
  }

  @Override
  public void onTaskEnd(SparkListenerTaskEnd end) {
    if (!stages.contains(end.stageId())) {
      return;
    }
    moved();
    int task = end.taskInfo().partitionId();
    if (end.taskInfo().successful()) {
      done.add(task);
      onTasksDone.accept(done());
    } else if (end.taskInfo().failed()) {
      failures.merge(task, 1, Integer::sum);
    }
  }

  @Override
  public void onExecutorMetricsUpdate(SparkListenerExecutorMetricsUpdate update) {
    CollectionConverters.asJava(update.accumUpdates())
        .forEach(
            task ->
                CollectionConverters.asJava(task._4()).stream()
                    .filter(info -> info.id() == job.heartbeatId() && info.update().isDefined())
                    .forEach(
                        info -> {
                          Object steps = info.update().get();
                          if (steps instanceof Long now
                              && !now.equals(heartbeats.put((Long) task._1(), now))) {
                            moved();
                          }
                        }));
  }

  private void moved() {
    lastMove.set(System.nanoTime());
  }
}
