package org.sparkpeft.federated.server;

import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * Everything a run needs to go on after a round.
 *
 * @param round the last complete round; 0 before the first
 * @param server global parameters and server moments
 * @param method what the method needs beside its parameters
 * @param broadcast the parameters as the clients know them: what the compressed downlinks have
 *     added up to
 * @param clientVersions for each client that has taken part, the last round whose update was
 *     accepted
 * @param clientSeen for each client, the last round in which it received the global update
 * @param downlinkBytes payload bytes of each round's global update, from round 1
 */
public record Checkpoint(
    int round,
    ServerState server,
    MethodState method,
    ParameterVector broadcast,
    SortedMap<String, Integer> clientVersions,
    SortedMap<String, Integer> clientSeen,
    List<Long> downlinkBytes) {
  public Checkpoint {
    clientVersions = new TreeMap<>(clientVersions);
    clientSeen = new TreeMap<>(clientSeen);
    downlinkBytes = List.copyOf(downlinkBytes);
    if (downlinkBytes.size() != round) {
      throw new IllegalArgumentException(
          "round " + round + " needs as many downlink sizes, got " + downlinkBytes.size());
    }
  }

  /** The checkpoint before the first round. */
  public static Checkpoint start(ServerState server, MethodState method) {
    return new Checkpoint(
        0, server, method, server.parameters(), new TreeMap<>(), new TreeMap<>(), List.of());
  }
}
