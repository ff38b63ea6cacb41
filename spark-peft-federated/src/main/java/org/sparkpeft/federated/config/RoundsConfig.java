package org.sparkpeft.federated.config;

import java.io.Serializable;
import org.sparkpeft.core.error.Problems;

/**
 * How many exchanges there are and who takes part.
 *
 * @param count number of rounds
 * @param clientsPerRound size of a round's cohort; 0 means all clients
 * @param participation the same as a fraction of all clients, in (0, 1]; 0 means that {@code
 *     clientsPerRound} decides
 * @param minClients a round with fewer good updates fails
 * @param concurrency clients that must be able to train at the same time; 0 means whatever the
 *     cluster can
 * @param stallSeconds a round in which nothing moves for so long, not one training step, goes on
 *     without the clients that have not finished
 * @param clientSeconds a client that trains longer is left out of the round; 0 means no limit
 */
public record RoundsConfig(
    int count,
    int clientsPerRound,
    double participation,
    int minClients,
    int concurrency,
    int stallSeconds,
    int clientSeconds)
    implements Serializable {

  public RoundsConfig {
    new Problems()
        .require(count >= 1 && count <= 1_000_000, "count", count, "must be 1..1000000")
        .require(
            clientsPerRound >= 0, "clients_per_round", clientsPerRound, "must be 0 (all) or above")
        .require(
            participation >= 0 && participation <= 1,
            "participation",
            participation,
            "must be 0 (not used) or a fraction in (0, 1]")
        .require(
            clientsPerRound == 0 || participation == 0,
            "participation",
            participation,
            "clients_per_round is set too; keep one of the two")
        .require(minClients >= 1, "min_clients", minClients, "must be 1 or above")
        .require(
            concurrency >= 0, "concurrency", concurrency, "must be 0 (whatever there is) or above")
        .require(
            stallSeconds >= 1 && stallSeconds <= 10_000_000,
            "stall_seconds",
            stallSeconds,
            "must be 1..10000000; 600 is usual")
        .require(
            clientSeconds >= 0 && clientSeconds <= 10_000_000,
            "client_seconds",
            clientSeconds,
            "must be 0 (no limit) or at most 10000000")
        .throwIfAny();
  }

  public static RoundsConfig defaults() {
    return new RoundsConfig(20, 0, 0, 1, 0, 600, 0);
  }

  /** Clients in a cohort when there are {@code clients}: at least one, at most all. */
  public int cohortSize(int clients) {
    if (participation > 0) {
      return (int) Math.max(1, Math.min(clients, Math.round(participation * clients)));
    }
    return clientsPerRound == 0 ? clients : Math.min(clientsPerRound, clients);
  }
}
