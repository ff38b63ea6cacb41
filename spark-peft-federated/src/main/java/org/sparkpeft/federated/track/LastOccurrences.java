package org.sparkpeft.federated.track;

import java.time.Instant;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Predicate;
import org.sparkpeft.federated.round.RunEvent;
import org.sparkpeft.federated.round.RunEvent.ClientEvaluated;
import org.sparkpeft.federated.round.RunEvent.ClientReport;
import org.sparkpeft.federated.round.RunEvent.Evaluated;
import org.sparkpeft.federated.round.RunEvent.RoundFinished;
import org.sparkpeft.federated.round.RunEvent.RoundProgress;
import org.sparkpeft.federated.round.RunEvent.RoundStarted;
import org.sparkpeft.federated.round.RunEvent.RunFinished;
import org.sparkpeft.federated.round.RunEvent.RunStarted;

/** Leaves out what a later event of the same log superseded; the rule is at {@link EventLog}. */
final class LastOccurrences {
  private final List<RunEvent> events = new ArrayList<>();
  private final List<Instant> times = new ArrayList<>();
  private final Set<Object> evaluations = new HashSet<>();
  private int highestRound;

  void add(RunEvent event, Instant time) {
    if (event instanceof RunStarted started) {
      restart(started, time);
      return;
    }
    if (event instanceof RoundStarted started) {
      annulRoundsFrom(started.round());
    }
    Optional<Object> key = evaluationKey(event);
    if (key.isPresent() && !evaluations.add(key.get())) {
      remove(earlier -> evaluationKey(earlier).equals(key));
    }
    highestRound = Math.max(highestRound, round(event));
    events.add(event);
    times.add(time);
  }

  EventHistory history(int unknownEvents) {
    return new EventHistory(events, times, unknownEvents);
  }

  private void restart(RunStarted started, Instant time) {
    annulRoundsFrom(started.resumedFrom() + 1);
    remove(event -> event instanceof RunStarted || closesRun(event));
    events.add(0, started);
    times.add(0, time);
  }

  private void annulRoundsFrom(int first) {
    // A run without interruption never gets in here, so reading stays linear.
    if (first <= highestRound) {
      remove(event -> round(event) >= first);
      highestRound = first - 1;
    }
  }

  private void remove(Predicate<RunEvent> superseded) {
    int kept = 0;
    for (int i = 0; i < events.size(); i++) {
      if (!superseded.test(events.get(i))) {
        events.set(kept, events.get(i));
        times.set(kept, times.get(i));
        kept++;
      }
    }
    events.subList(kept, events.size()).clear();
    times.subList(kept, times.size()).clear();
  }

  private static boolean closesRun(RunEvent event) {
    return event instanceof RunFinished
        || event instanceof ClientEvaluated
        || (event instanceof Evaluated evaluated && evaluated.what().equals("final"));
  }

  private static Optional<Object> evaluationKey(RunEvent event) {
    if (event instanceof Evaluated evaluated) {
      return Optional.of(List.of(evaluated.what(), evaluated.round()));
    }
    if (event instanceof ClientEvaluated client) {
      return Optional.of(List.of(client.clientId(), client.split(), "client"));
    }
    return Optional.empty();
  }

  /** The round an event belongs to, 0 when it belongs to none. */
  private static int round(RunEvent event) {
    if (event instanceof RoundStarted started) {
      return started.round();
    }
    if (event instanceof RoundProgress progress) {
      return progress.round();
    }
    if (event instanceof ClientReport report) {
      return report.round();
    }
    if (event instanceof RoundFinished finished) {
      return finished.round();
    }
    return event instanceof Evaluated evaluated && evaluated.what().equals("round")
        ? evaluated.round()
        : 0;
  }
}
