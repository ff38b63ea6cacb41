package org.sparkpeft.federated.track;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.SortedMap;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.sparkpeft.federated.round.RunEvent;
import org.sparkpeft.federated.round.RunEvent.ClientEvaluated;
import org.sparkpeft.federated.round.RunEvent.ClientReport;
import org.sparkpeft.federated.round.RunEvent.Evaluated;
import org.sparkpeft.federated.round.RunEvent.RoundFinished;
import org.sparkpeft.federated.round.RunEvent.RoundProgress;
import org.sparkpeft.federated.round.RunEvent.RoundStarted;
import org.sparkpeft.federated.round.RunEvent.RunFinished;
import org.sparkpeft.federated.round.RunEvent.RunStarted;

/** Events that look like those of a real run; a function of its fields. */
record SyntheticRun(String name, int clients, int labels, int rounds, int cohort, long seed) {
  private static final long TRAINABLE = 73_728 + 384L * 77;
  private static final String[] TOPICS = {
    "card_arrival",
    "exchange_rate",
    "lost_or_stolen_card",
    "pending_transfer",
    "top_up_failed",
    "verify_my_identity",
    "cash_withdrawal_charge",
    "refund_not_showing_up"
  };

  List<RunEvent> events() {
    SplittableRandom random = new SplittableRandom(seed);
    List<RunEvent> events = new ArrayList<>();
    events.add(started(0, random.split()));
    events.add(new Evaluated("baseline", 0, 3080, metrics(1.0 / labels, 2.1), 4.5));
    events.add(new Evaluated("head_only", 0, 3080, metrics(0.61, 1.35), 4.4));
    for (int round = 1; round <= rounds; round++) {
      addRound(events, round, random.split());
    }
    events.add(new Evaluated("final", rounds, 3080, metrics(accuracy(rounds), loss(rounds)), 4.6));
    events.add(new Evaluated("central", 0, 3080, metrics(0.873, 0.47), 4.4));
    for (String id : ids()) {
      double accuracy = Math.min(1, accuracy(rounds) + 0.12 * (random.nextDouble() - 0.6));
      events.add(new ClientEvaluated(id, "test", 20 + random.nextInt(300), accuracy));
    }
    events.add(new RunFinished(Summary.of(events, "0".repeat(64))));
    return events;
  }

  RunStarted started(int resumedFrom, SplittableRandom random) {
    SortedMap<String, List<Long>> counts = new TreeMap<>();
    for (String id : ids()) {
      counts.put(id, counts(random));
    }
    List<String> names =
        IntStream.range(0, labels)
            .mapToObj(i -> TOPICS[i % 8] + (i < 8 ? "" : "_" + i / 8))
            .toList();
    return new RunStarted(
        name, seed, rounds, resumedFrom, TRAINABLE, 22_713_216, names, counts, versions());
  }

  /** Skewed as by a Dirichlet draw of concentration 0.3, near enough. */
  private List<Long> counts(SplittableRandom random) {
    double[] weights = new double[labels];
    double sum = 0;
    for (int i = 0; i < labels; i++) {
      weights[i] = Math.pow(random.nextDouble(), 4);
      sum += weights[i];
    }
    long examples = 200 + random.nextInt(900);
    List<Long> counts = new ArrayList<>();
    for (double weight : weights) {
      counts.add(Math.round(examples * weight / sum));
    }
    return counts;
  }

  private void addRound(List<RunEvent> events, int round, SplittableRandom random) {
    List<String> drawn =
        IntStream.range(0, cohort).mapToObj(i -> ids().get((i * 7 + round) % clients)).toList();
    List<String> sorted = drawn.stream().distinct().sorted().toList();
    events.add(new RoundStarted(round, sorted));
    int failed = 0;
    long bytes = 0;
    for (String id : sorted) {
      ClientReport report = report(round, id, random);
      failed += report.status().equals("ok") ? 0 : 1;
      bytes += report.status().equals("ok") ? report.payloadBytes() : 0;
      events.add(report);
    }
    events.add(new RoundProgress(round, sorted.size(), sorted.size()));
    int ok = sorted.size() - failed;
    double train = 18 + 4 * random.nextDouble();
    double seconds = train + 4 + 2 * random.nextDouble();
    events.add(
        new RoundFinished(
            round,
            ok,
            failed,
            loss(round) * 0.9,
            bytes,
            bytes * 8 * 0.968,
            ok * TRAINABLE,
            (long) (sorted.size() * 21_000.0 * (1 + 0.1 * random.nextDouble())),
            seconds,
            train,
            0.06 * sorted.size(),
            0.7 + 0.2 * random.nextDouble(),
            seconds - train));
    events.add(new Evaluated("round", round, 3080, metrics(accuracy(round), loss(round)), 4.5));
  }

  private ClientReport report(int round, String id, SplittableRandom random) {
    long examples = 200 + random.nextInt(900);
    double draw = random.nextDouble();
    String status = draw < 0.03 ? "failed" : draw < 0.05 ? "dropped" : draw < 0.06 ? "late" : "ok";
    boolean ok = status.equals("ok");
    return new ClientReport(
        round,
        id,
        status,
        examples,
        ok ? examples / 16 : 0,
        ok ? loss(round) * (0.7 + 0.5 * random.nextDouble()) : Double.NaN,
        ok ? 22_000 + random.nextInt(3000) : 0,
        5 + examples / 60.0,
        0.05,
        "executor-" + (1 + random.nextInt(4)) + ".cluster.local",
        status.equals("failed") ? 3 : 0,
        status.equals("failed")
            ? "java.lang.OutOfMemoryError: Java heap space"
            : ok ? "" : "update of client " + id + " holds 12 values that are not finite",
        status.equals("failed")
            ? "org.sparkpeft.core.train.LocalTrainer.train(LocalTrainer.java:142)"
            : "");
  }

  private double accuracy(int round) {
    return 0.86 - 0.6 * Math.exp(-round / 2.2);
  }

  private double loss(int round) {
    return 0.52 + 1.5 * Math.exp(-round / 2.0);
  }

  private static SortedMap<String, Double> metrics(double accuracy, double loss) {
    return new TreeMap<>(
        Map.of(
            "accuracy",
            accuracy,
            "macro_f1",
            accuracy * 0.98,
            "mcc",
            accuracy * 0.97,
            "loss",
            loss));
  }

  List<String> ids() {
    return IntStream.range(0, clients)
        .mapToObj(i -> String.format(Locale.ROOT, "branch-%04d", i))
        .toList();
  }

  private static Map<String, String> versions() {
    return Map.of(
        "spark-peft",
        "0.1.0",
        "spark",
        "4.1.0",
        "scala",
        "2.13.17",
        "java",
        "17.0.15",
        "pytorch",
        "2.7.1");
  }

  static SyntheticRun small() {
    return new SyntheticRun("banking-intents-lora", 12, 8, 8, 10, 42);
  }
}
