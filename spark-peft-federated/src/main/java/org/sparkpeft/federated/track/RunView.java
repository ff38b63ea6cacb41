package org.sparkpeft.federated.track;

import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.ToDoubleFunction;
import org.sparkpeft.federated.round.RunEvent;
import org.sparkpeft.federated.round.RunEvent.ClientEvaluated;
import org.sparkpeft.federated.round.RunEvent.ClientReport;
import org.sparkpeft.federated.round.RunEvent.Evaluated;
import org.sparkpeft.federated.round.RunEvent.RoundFinished;
import org.sparkpeft.federated.round.RunEvent.RoundStarted;
import org.sparkpeft.federated.round.RunEvent.RunFinished;
import org.sparkpeft.federated.round.RunEvent.RunStarted;

/**
 * A run's events, sorted into the places where summary and report look for them. Of several events
 * about the same thing (a client's attempts in a round, say) the last one counts.
 */
final class RunView {
  private final SortedMap<Integer, Integer> cohorts = new TreeMap<>();
  private final SortedMap<Integer, RoundFinished> rounds = new TreeMap<>();
  private final SortedMap<Integer, SortedMap<String, ClientReport>> reports = new TreeMap<>();
  private final SortedMap<Integer, Evaluated> byRound = new TreeMap<>();
  private final SortedMap<String, Evaluated> evaluations = new TreeMap<>();
  private final SortedMap<String, ClientEvaluated> clients = new TreeMap<>();
  private Optional<RunStarted> started = Optional.empty();
  private boolean finished;

  private RunView() {}

  static RunView of(List<RunEvent> events) {
    RunView view = new RunView();
    events.forEach(view::add);
    return view;
  }

  private void add(RunEvent event) {
    if (event instanceof RunStarted run) {
      started = Optional.of(run);
    } else if (event instanceof RoundStarted round) {
      cohorts.put(round.round(), round.cohort().size());
    } else if (event instanceof ClientReport report) {
      reports
          .computeIfAbsent(report.round(), round -> new TreeMap<>())
          .put(report.clientId(), report);
    } else if (event instanceof RoundFinished round) {
      rounds.put(round.round(), round);
    } else if (event instanceof Evaluated evaluated) {
      if (evaluated.what().equals("round")) {
        byRound.put(evaluated.round(), evaluated);
      } else {
        evaluations.put(evaluated.what(), evaluated);
      }
    } else if (event instanceof ClientEvaluated client) {
      clients.put(client.clientId(), client);
    } else if (event instanceof RunFinished) {
      finished = true;
    }
  }

  Optional<RunStarted> started() {
    return started;
  }

  boolean finished() {
    return finished;
  }

  /** Complete rounds, in order. */
  List<RoundFinished> rounds() {
    return List.copyOf(rounds.values());
  }

  /** Every client's part in every round, by round, then client. */
  List<ClientReport> reports() {
    List<ClientReport> all = new ArrayList<>();
    reports.values().forEach(round -> all.addAll(round.values()));
    return all;
  }

  /**
   * Evaluations of the adapter of a round, by round; the final one among them, where others are.
   */
  SortedMap<Integer, Evaluated> evaluationsByRound() {
    SortedMap<Integer, Evaluated> all = new TreeMap<>(byRound);
    if (!all.isEmpty()) {
      evaluation("final").ifPresent(last -> all.putIfAbsent(last.round(), last));
    }
    return Collections.unmodifiableSortedMap(all);
  }

  /**
   * The evaluation called {@code final}, {@code baseline}, {@code head_only} or {@code central}.
   */
  Optional<Evaluated> evaluation(String what) {
    return Optional.ofNullable(evaluations.get(what));
  }

  /** The final adapter's evaluation, or else that of the last round evaluated so far. */
  Optional<Evaluated> latest() {
    return evaluation("final").or(() -> byRound.values().stream().reduce((a, b) -> b));
  }

  /** Seconds of all evaluations. */
  double evaluationSeconds() {
    double sum = 0;
    for (Evaluated evaluated : byRound.values()) {
      sum += evaluated.seconds();
    }
    for (Evaluated evaluated : evaluations.values()) {
      sum += evaluated.seconds();
    }
    return sum;
  }

  /** Evaluations of single clients, by client id. */
  SortedMap<String, ClientEvaluated> clients() {
    return Collections.unmodifiableSortedMap(clients);
  }

  /** Finite client accuracies, ascending. */
  List<Double> clientAccuracies() {
    return clients.values().stream()
        .map(ClientEvaluated::accuracy)
        .filter(Double::isFinite)
        .sorted(Comparator.naturalOrder())
        .toList();
  }

  /** Sum over complete rounds, in round order. */
  double sum(ToDoubleFunction<RoundFinished> value) {
    double sum = 0;
    for (RoundFinished round : rounds.values()) {
      sum += value.applyAsDouble(round);
    }
    return sum;
  }

  /** Client parts that ended with {@code status}. */
  long countOf(String status) {
    return reports().stream().filter(report -> report.status().equals(status)).count();
  }

  /** Clients drawn in complete rounds, summed: how many times an adapter was sent down. */
  long downloads() {
    long sum = 0;
    for (RoundFinished round : rounds.values()) {
      sum +=
          cohorts
              .getOrDefault(round.round(), round.clientsOk() + round.clientsFailed())
              .longValue();
    }
    return sum;
  }

  /**
   * Quantile of ascending values by linear interpolation between the two nearest ranks (definition
   * 7 of Hyndman and Fan 1996, the default of NumPy).
   */
  static double quantile(List<Double> ascending, double q) {
    double position = q * (ascending.size() - 1);
    int below = (int) Math.floor(position);
    int above = Math.min(below + 1, ascending.size() - 1);
    double fraction = position - below;
    return ascending.get(below) * (1 - fraction) + ascending.get(above) * fraction;
  }
}
