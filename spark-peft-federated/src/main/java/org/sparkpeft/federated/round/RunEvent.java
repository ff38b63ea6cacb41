package org.sparkpeft.federated.round;

import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * One thing that happened in a run. The sequence of events is the only source of progress bars,
 * summaries and reports.
 */
public sealed interface RunEvent {

  /**
   * The run was bound and checked and is about to train.
   *
   * @param name run name
   * @param seed run seed
   * @param rounds rounds planned
   * @param resumedFrom last complete round of the checkpoint the run goes on from; 0 for a fresh
   *     run
   * @param trainableParameters entries of the adapter, head included
   * @param baseParameters frozen entries
   * @param labels class names in index order; empty for regression and embeddings
   * @param clientLabelCounts for each client, examples of each label (one count each in label
   *     order; a single total where there are none)
   * @param versions versions of spark-peft, Spark, Scala, Java and the engine
   */
  record RunStarted(
      String name,
      long seed,
      int rounds,
      int resumedFrom,
      long trainableParameters,
      long baseParameters,
      List<String> labels,
      SortedMap<String, List<Long>> clientLabelCounts,
      Map<String, String> versions)
      implements RunEvent {
    public RunStarted {
      labels = List.copyOf(labels);
      clientLabelCounts = new TreeMap<>(clientLabelCounts);
      versions = new TreeMap<>(versions);
    }
  }

  /** A cohort was drawn; {@code cohort} is sorted. */
  record RoundStarted(int round, List<String> cohort) implements RunEvent {
    public RoundStarted {
      cohort = List.copyOf(cohort);
    }
  }

  /**
   * Spark tasks of the running round that have ended, out of those started for it: for progress
   * bars only.
   */
  record RoundProgress(int round, int clientsDone, int clients) implements RunEvent {}

  /**
   * One client's part in a round.
   *
   * @param status {@code ok}, {@code failed} (an exception), {@code dropped} (non-finite or
   *     malformed update) or {@code late}
   * @param numExamples its weight
   * @param steps optimiser updates made
   * @param loss mean training loss, NaN when there is none
   * @param payloadBytes bytes sent up
   * @param seconds time spent training
   * @param codecSeconds time spent encoding
   * @param host where it ran
   * @param attempt Spark attempt number, from 0
   * @param error exception class and message, empty when ok
   * @param frame first stack frame in this project's code, empty when ok
   */
  record ClientReport(
      int round,
      String clientId,
      String status,
      long numExamples,
      long steps,
      double loss,
      long payloadBytes,
      double seconds,
      double codecSeconds,
      String host,
      int attempt,
      String error,
      String frame)
      implements RunEvent {}

  /**
   * A round is complete and its checkpoint is on disk.
   *
   * @param clientsOk clients whose update was folded
   * @param clientsFailed clients without one
   * @param trainLoss example-weighted mean training loss
   * @param uplinkBytes payload bytes of accepted clients
   * @param uplinkBoundBits per-tensor entropy bound of the same payloads
   * @param uplinkParameters parameters those payloads describe (clients times layout size)
   * @param downlinkBytes payload bytes sent to the cohort, missed rounds included
   * @param seconds wall time of the round, evaluation excluded
   * @param trainSeconds longest time any one task slot spent training
   * @param codecSeconds encoding and decoding on executors and driver, summed over clients
   * @param aggregateSeconds folding, merging and server step
   * @param sparkSeconds {@code seconds - trainSeconds}: everything that was not training
   */
  record RoundFinished(
      int round,
      int clientsOk,
      int clientsFailed,
      double trainLoss,
      long uplinkBytes,
      double uplinkBoundBits,
      long uplinkParameters,
      long downlinkBytes,
      double seconds,
      double trainSeconds,
      double codecSeconds,
      double aggregateSeconds,
      double sparkSeconds)
      implements RunEvent {}

  /**
   * An adapter was evaluated on the test data.
   *
   * @param what {@code round} for the adapter of a round, {@code final}, {@code baseline}
   *     (untrained head), {@code head_only} or {@code central}
   * @param round round number; 0 where it does not apply
   * @param examples test examples
   * @param metrics metric name to value, for example accuracy, macro_f1, mcc, loss
   * @param seconds wall time of the evaluation
   */
  record Evaluated(
      String what, int round, long examples, SortedMap<String, Double> metrics, double seconds)
      implements RunEvent {
    public Evaluated {
      metrics = new TreeMap<>(metrics);
    }
  }

  /**
   * The final adapter on one client's own examples.
   *
   * @param split {@code test} where the test data has clients, else {@code train}
   */
  record ClientEvaluated(String clientId, String split, long examples, double accuracy)
      implements RunEvent {}

  /**
   * The run is complete.
   *
   * @param summary the content of summary.json, flat keys with dots
   */
  record RunFinished(SortedMap<String, Object> summary) implements RunEvent {
    public RunFinished {
      summary = new TreeMap<>(summary);
    }
  }
}
