package org.sparkpeft.federated.round;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.spark.api.java.JavaFutureAction;
import org.apache.spark.api.java.JavaSparkContext;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.sparkpeft.core.peft.RoundDecision;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.federated.aggregate.Aggregator;
import org.sparkpeft.federated.aggregate.Stretches;
import org.sparkpeft.federated.client.Bytes;
import org.sparkpeft.federated.client.ClientGroups;
import org.sparkpeft.federated.client.ClientResult;
import org.sparkpeft.federated.client.ClientStore;
import org.sparkpeft.federated.client.ExampleShards;
import org.sparkpeft.federated.client.FoldedUpdates;
import org.sparkpeft.federated.client.RoundJob;
import org.sparkpeft.federated.client.RoundOrder;
import org.sparkpeft.federated.client.RuntimeSpec;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.server.Checkpoint;
import org.sparkpeft.federated.server.ServerOptimizer;
import org.sparkpeft.federated.server.ServerState;

/**
 * One round of federated training after another: draw a cohort, send the global update, let the
 * clients train, fold their updates, step the server. What a round gives depends on the checkpoint
 * before it, the recipe and the data only.
 */
final class Federation {
  private static final Logger LOG = LoggerFactory.getLogger(Federation.class);
  private static final int POLL_MILLIS = 20;

  private final JavaSparkContext spark;
  private final Recipe recipe;
  private final ExampleShards clients;
  private final RuntimeSpec runtime;
  private final TunableModel model;
  private final ParameterLayout layout;
  private final ClientStore store;
  private final String runId;
  private final RunListener events;
  private final CohortSampler sampler;
  private final Aggregator aggregator;
  private final ServerOptimizer server;
  private final Downlink downlink;
  private final int together;

  /**
   * @param runtime model, task and method; the method may differ from the recipe's
   * @param model the same, loaded
   * @param runId identity of this run of the loop, different for any two with different parameters
   */
  Federation(
      JavaSparkContext spark,
      Recipe recipe,
      ExampleShards clients,
      RuntimeSpec runtime,
      TunableModel model,
      ClientStore store,
      String runId,
      RunListener events) {
    this.spark = spark;
    this.recipe = recipe;
    this.clients = clients;
    this.runtime = runtime;
    this.model = model;
    this.layout = model.layout();
    this.store = store;
    this.runId = runId;
    this.events = events;
    int cohortSize = recipe.rounds().cohortSize(clients.names().size());
    this.sampler = new CohortSampler(recipe.run().seed(), clients.names(), cohortSize);
    this.aggregator = Aggregator.of(recipe.aggregate());
    this.server = ServerOptimizer.of(recipe.server());
    this.downlink = new Downlink(recipe.compress().downlink());
    if (recipe.train().gradientCheckpointing()) {
      model.requireRecomputable();
    }
    this.together = together(recipe, model);
  }

  /** Clients that share their passes through the base. */
  private static int together(Recipe recipe, TunableModel model) {
    int wanted = recipe.train().clientsPerPass().clients(recipe.train().batchSize());
    Optional<String> reason = model.whyOneByOne();
    if (wanted > 1 && reason.isPresent()) {
      LOG.warn("train.clients_per_pass: clients are trained one by one, since {}", reason.get());
      return 1;
    }
    return wanted;
  }

  /**
   * Runs the round after {@code before}.
   *
   * @throws RoundFailedException if fewer than {@code rounds.min_clients} updates could be used
   */
  Round run(Checkpoint before) {
    long began = System.nanoTime();
    int round = before.round() + 1;
    List<String> cohort = sampler.draw(round);
    events.on(new RunEvent.RoundStarted(round, cohort));

    long sending = System.nanoTime();
    Downlink.Sent sent = downlink.send(before, round);
    double sendSeconds = (System.nanoTime() - sending) * 1e-9;

    RoundResults results =
        call(
            order(before, round, cohort),
            runtime.withState(before.method()),
            sent.payload(),
            Downlink.snapshot(before.broadcast()));
    report(round, results);
    int ok = results.sums().count();
    int needed = Math.min(recipe.rounds().minClients(), cohort.size());
    if (ok < needed) {
      throw new RoundFailedException(round, tooFew(ok, needed, results));
    }

    long stepping = System.nanoTime();
    TaskVector aggregate = results.sums().result();
    ServerState stepped =
        server.step(new ServerState(sent.server(), before.server().moments()), aggregate);
    RoundDecision.Output decided =
        model
            .withState(before.method())
            .decide(
                new RoundDecision.Input(
                    round, recipe.rounds().count(), results.reports(), stepped.parameters()));
    stepped = new ServerState(decided.parameters(), stepped.moments());
    if (!stepped.parameters().isFinite()) {
      throw new RoundFailedException(
          round,
          "the server step gave parameters that are not finite; lower server.learning_rate or train.learning_rate");
    }
    double aggregateSeconds = results.foldSeconds() + (System.nanoTime() - stepping) * 1e-9;

    List<Long> sizes = new ArrayList<>(before.downlinkBytes());
    sizes.add((long) sent.payload().length);
    SortedMap<String, Integer> versions = new TreeMap<>(before.clientVersions());
    results.accepted().forEach(client -> versions.put(client, round));
    Checkpoint after =
        new Checkpoint(
            round,
            stepped,
            decided.state(),
            sent.broadcast(),
            versions,
            Downlink.seenAfter(before.clientSeen(), cohort, round),
            sizes);
    double seconds = (System.nanoTime() - began) * 1e-9;
    double trainSeconds = Math.min(seconds, results.longestLaneSeconds());
    RunEvent.RoundFinished finished =
        new RunEvent.RoundFinished(
            round,
            ok,
            cohort.size() - ok,
            results.trainLoss(),
            results.uplinkBytes(),
            results.boundBits(),
            results.parameters(),
            Downlink.bytesTo(cohort, before.clientSeen(), sizes, layout.size()),
            seconds,
            trainSeconds,
            results.codecSeconds() + sendSeconds,
            aggregateSeconds,
            seconds - trainSeconds);
    return new Round(after, finished);
  }

  /**
   * A round that is over.
   *
   * @param checkpoint state after it
   * @param finished the event to publish once the checkpoint is on disk
   */
  record Round(Checkpoint checkpoint, RunEvent.RoundFinished finished) {}

  private RoundOrder order(Checkpoint before, int round, List<String> cohort) {
    boolean wholeRun = recipe.train().scheduleScope().equals("federation");
    double rounds = recipe.rounds().count();
    SortedMap<String, Integer> versions = new TreeMap<>();
    cohort.forEach(client -> versions.put(client, before.clientVersions().getOrDefault(client, 0)));
    return new RoundOrder(
        runId,
        recipe.run().seed(),
        round,
        wholeRun ? (round - 1) / rounds : 0,
        wholeRun ? round / rounds : 1,
        recipe.train(),
        recipe.aggregate().method().equals("fedprox") ? recipe.aggregate().proximalMu() : 0,
        recipe.compress().uplink(),
        versions,
        together > 1
            ? ClientGroups.of(versions.keySet(), clients::numExamples, together)
            : List.of(),
        recipe.rounds().clientSeconds());
  }

  /**
   * Runs the job; clients whose Spark task hangs or keeps dying are left out and the rest called
   * again.
   */
  private RoundResults call(RoundOrder order, RuntimeSpec current, byte[] update, byte[] snapshot) {
    Aggregator.Cohort whole =
        new Aggregator.Cohort(
            order.cohort().size(),
            order.cohort().keySet().stream().mapToLong(clients::numExamples).sum(),
            Stretches.of(layout, model.slicedTensors()));
    List<ClientResult> unanswered = new ArrayList<>();
    SortedMap<String, Integer> cohort = new TreeMap<>(order.cohort());
    spark.setJobGroup(
        runId,
        "round "
            + order.round()
            + "/"
            + recipe.rounds().count()
            + ", "
            + order.cohort().size()
            + " clients",
        true);
    try {
      while (!cohort.isEmpty()) {
        try (RoundJob job =
            new RoundJob(
                spark,
                clients,
                current,
                store,
                order.withCohort(cohort),
                whole,
                aggregator,
                layout,
                update,
                snapshot)) {
          Attempt attempt = attempt(job, order.round(), order.cohort().size());
          if (attempt.left().isEmpty()) {
            return new RoundResults(aggregator, layout, whole, attempt.folded(), unanswered);
          }
          unanswered.addAll(attempt.left());
          attempt.left().forEach(result -> cohort.remove(result.clientId()));
        }
      }
      return new RoundResults(aggregator, layout, whole, List.of(), unanswered);
    } finally {
      spark.clearJobGroup();
    }
  }

  /** What one submission of the job gave: everything, or the clients to leave out of the next. */
  private record Attempt(List<FoldedUpdates> folded, List<ClientResult> left) {}

  private Attempt attempt(RoundJob job, int round, int cohortSize) {
    RoundWatch watch =
        new RoundWatch(
            job,
            tasks -> events.on(new RunEvent.RoundProgress(round, clients(job, tasks), cohortSize)));
    spark.sc().addSparkListener(watch);
    try {
      JavaFutureAction<List<byte[]>> future = job.submit();
      while (true) {
        try {
          List<byte[]> parts = future.get(POLL_MILLIS, TimeUnit.MILLISECONDS);
          return new Attempt(parts.stream().map(FoldedUpdates::fromBytes).toList(), List.of());
        } catch (TimeoutException e) {
          if (watch.secondsSinceMove() > recipe.rounds().stallSeconds()) {
            spark.cancelJobGroup(runId);
            Set<Integer> stuck = new TreeSet<>(job.clientsOfTask().keySet());
            stuck.removeAll(watch.done());
            String reason =
                "nothing moved for rounds.stall_seconds: " + recipe.rounds().stallSeconds();
            return new Attempt(
                List.of(), unanswered(job.clientsOfTask(), stuck, ClientResult.LATE, reason));
          }
        }
      }
    } catch (ExecutionException e) {
      Throwable cause = e.getCause() == null ? e : e.getCause();
      if (watch.failing().isEmpty()) {
        throw new RoundFailedException(round, "Spark could not run it: " + firstLine(cause), cause);
      }
      return new Attempt(
          List.of(),
          unanswered(job.clientsOfTask(), watch.failing(), ClientResult.FAILED, firstLine(cause)));
    } catch (InterruptedException e) {
      spark.cancelJobGroup(runId);
      Thread.currentThread().interrupt();
      throw new RoundFailedException(round, "interrupted", e);
    } finally {
      spark.sc().removeSparkListener(watch);
    }
  }

  private static int clients(RoundJob job, Set<Integer> tasks) {
    Map<Integer, List<String>> clients = job.clientsOfTask();
    return tasks.stream().mapToInt(task -> clients.getOrDefault(task, List.of()).size()).sum();
  }

  private List<ClientResult> unanswered(
      Map<Integer, List<String>> clientsOfTask, Set<Integer> tasks, String status, String reason) {
    List<ClientResult> results = new ArrayList<>();
    for (int task : tasks) {
      for (String client : clientsOfTask.getOrDefault(task, List.of())) {
        results.add(
            new ClientResult(
                client,
                status,
                clients.numExamples(client),
                0,
                Double.NaN,
                0,
                0,
                "",
                "",
                0,
                reason,
                "",
                Bytes.EMPTY,
                Bytes.EMPTY,
                Bytes.EMPTY));
      }
    }
    return results;
  }

  private void report(int round, RoundResults results) {
    for (RoundResults.Entry entry : results.entries()) {
      ClientResult r = entry.result();
      events.on(
          new RunEvent.ClientReport(
              round,
              r.clientId(),
              r.status(),
              r.numExamples(),
              r.steps(),
              r.loss(),
              entry.payloadBytes(),
              r.trainSeconds(),
              r.codecSeconds(),
              r.host(),
              r.attempt(),
              r.error(),
              r.frame()));
    }
  }

  private static String tooFew(int ok, int needed, RoundResults results) {
    String first =
        results.entries().stream()
            .map(RoundResults.Entry::result)
            .filter(result -> !result.isOk())
            .findFirst()
            .map(
                result ->
                    "; first: client "
                        + result.clientId()
                        + " "
                        + result.status()
                        + ", "
                        + result.error()
                        + " "
                        + result.frame())
            .orElse("");
    return ok
        + " usable updates of "
        + results.entries().size()
        + " clients, rounds.min_clients is "
        + needed
        + first;
  }

  private static String firstLine(Throwable thrown) {
    String message = thrown.getClass().getSimpleName() + ": " + thrown.getMessage();
    return message.lines().findFirst().orElse(message);
  }
}
