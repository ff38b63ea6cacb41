package org.sparkpeft.federated.client;

import java.io.Serializable;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.merge.compress.CodecConfig;

/**
 * What the driver asks of the clients of a round; everything a client's result depends on besides
 * its data and its own state.
 *
 * @param runId identity of the run, for caches that outlive it
 * @param seed run seed
 * @param round round number, from 1
 * @param progressStart position in the learning-rate schedule at the start of the round, in [0, 1]
 * @param progressEnd position at its end
 * @param train local training
 * @param proximalMu FedProx's pull, 0 for none
 * @param uplink compression of the update
 * @param cohort the clients called, each with the last round whose update the server accepted from
 *     it (0 for none)
 * @param groups the clients that are trained together, each group by a Spark task; empty where
 *     clients are trained one by one
 * @param clientSeconds longest a client may train, 0 for no limit; a group has as many times that
 *     as it has clients
 */
public record RoundOrder(
    String runId,
    long seed,
    int round,
    double progressStart,
    double progressEnd,
    TrainConfig train,
    double proximalMu,
    CodecConfig uplink,
    SortedMap<String, Integer> cohort,
    List<List<String>> groups,
    double clientSeconds)
    implements Serializable {
  public RoundOrder {
    cohort = new TreeMap<>(cohort);
    groups = groups.stream().map(List::copyOf).toList();
  }

  /** The same order to fewer clients; groups that lose none stay as they are. */
  public RoundOrder withCohort(SortedMap<String, Integer> fewer) {
    return new RoundOrder(
        runId,
        seed,
        round,
        progressStart,
        progressEnd,
        train,
        proximalMu,
        uplink,
        fewer,
        groups.stream()
            .map(group -> group.stream().filter(fewer::containsKey).toList())
            .filter(group -> !group.isEmpty())
            .toList(),
        clientSeconds);
  }
}
