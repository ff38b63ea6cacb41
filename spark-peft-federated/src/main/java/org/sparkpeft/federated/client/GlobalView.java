package org.sparkpeft.federated.client;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Supplier;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.merge.compress.Payload;

/**
 * The global parameters as this JVM knows them. An executor that has the previous round's applies
 * the compressed update; only one that has not, because it is new or lost its memory, fetches the
 * snapshot. Both give the same bits.
 */
final class GlobalView {
  private static final int RUNS_KEPT = 4;

  /**
   * Outlives tasks by design: it is what makes a compressed downlink enough. Guarded by the class.
   */
  private static final Map<String, Version> KNOWN = new LinkedHashMap<>();

  private record Version(int round, ParameterVector parameters) {}

  private GlobalView() {}

  /**
   * The parameters that clients start {@code round} from.
   *
   * @param update payload of the global update of {@code round}
   * @param snapshot parameters before that update as a dense payload; only read when needed
   */
  static synchronized ParameterVector at(
      String runId,
      int round,
      ParameterLayout layout,
      Supplier<byte[]> update,
      Supplier<byte[]> snapshot) {
    Version known = KNOWN.get(runId);
    if (known != null && known.round == round && known.parameters.layout().equals(layout)) {
      return known.parameters;
    }
    ParameterVector before =
        known != null && known.round == round - 1 && known.parameters.layout().equals(layout)
            ? known.parameters
            : ParameterVector.wrap(
                layout, Payload.decode(snapshot.get(), layout).vector().toArray());
    ParameterVector now = before.plus(Payload.decode(update.get(), layout).vector());
    KNOWN.remove(runId);
    KNOWN.put(runId, new Version(round, now));
    if (KNOWN.size() > RUNS_KEPT) {
      KNOWN.remove(KNOWN.keySet().iterator().next());
    }
    return now;
  }
}
