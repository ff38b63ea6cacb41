package org.sparkpeft.federated.track;

import java.time.Instant;
import java.util.List;
import org.sparkpeft.federated.round.RunEvent;

/**
 * The events read from a log, in order.
 *
 * @param events what happened, superseded events left out (the rule is at {@link EventLog#read})
 * @param times when each of {@code events} was written; as long as {@code events}
 * @param unknownEvents lines of a kind this version does not know and therefore skipped; they come
 *     from newer versions
 */
public record EventHistory(List<RunEvent> events, List<Instant> times, int unknownEvents) {
  public EventHistory {
    events = List.copyOf(events);
    times = List.copyOf(times);
    if (events.size() != times.size()) {
      throw new IllegalArgumentException(
          "each event needs its time, got " + events.size() + " events, " + times.size());
    }
  }
}
