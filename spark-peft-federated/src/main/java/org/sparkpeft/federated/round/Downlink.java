package org.sparkpeft.federated.round;

import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.federated.server.Checkpoint;
import org.sparkpeft.merge.compress.Codec;
import org.sparkpeft.merge.compress.CodecConfig;
import org.sparkpeft.merge.compress.Payload;
import org.sparkpeft.merge.compress.PayloadHeader;

/**
 * The way from the server to the clients. Clients know the sum of the compressed updates they were
 * sent, not the server's parameters themselves; each round sends, compressed, what is between the
 * two. With error feedback what one round's compression loses stays in that difference, less what
 * {@code feedback_decay} takes off, and goes out later; without it the server takes over what the
 * clients know, and the loss is final.
 */
final class Downlink {
  private static final Codec DENSE = Codec.of(CodecConfig.uncompressed());

  private final CodecConfig config;
  private final Codec codec;

  Downlink(CodecConfig config) {
    this.config = config;
    this.codec = Codec.of(config);
  }

  /**
   * What goes out at the start of a round.
   *
   * @param payload the compressed update
   * @param broadcast the parameters as clients know them afterwards
   * @param server the server's own parameters afterwards
   */
  record Sent(byte[] payload, ParameterVector broadcast, ParameterVector server) {}

  Sent send(Checkpoint before, int round) {
    ParameterVector server = before.server().parameters();
    PayloadHeader header = new PayloadHeader(round, "server", server.layout().fingerprint());
    byte[] payload = codec.encode(server.minus(before.broadcast()), header);
    TaskVector decoded = Payload.decode(payload, server.layout()).vector();
    ParameterVector broadcast = before.broadcast().plus(decoded);
    TaskVector kept = server.minus(broadcast).times((float) config.feedback());
    return new Sent(payload, broadcast, broadcast.plus(kept));
  }

  /** A vector as it is, for executors that have no earlier version to build on. */
  static byte[] snapshot(ParameterVector parameters) {
    PayloadHeader header = new PayloadHeader(0, "server", parameters.layout().fingerprint());
    return DENSE.encode(parameters.minus(ParameterVector.zeros(parameters.layout())), header);
  }

  /**
   * Bytes that a cohort receives in a round: for each client the updates it has missed and this
   * one, or all parameters in fp32 if that is less. The starting parameters are implied by the seed
   * and do not travel.
   *
   * @param seen for each client, the last round it received; absent for none
   * @param sizes bytes of each round's update, this round's last
   */
  static long bytesTo(
      List<String> cohort, SortedMap<String, Integer> seen, List<Long> sizes, int parameters) {
    long total = 0;
    for (String client : cohort) {
      int last = seen.getOrDefault(client, 0);
      long missed = sizes.subList(last, sizes.size()).stream().mapToLong(Long::longValue).sum();
      total += Math.min(missed, 4L * parameters);
    }
    return total;
  }

  /** {@code seen} after {@code cohort} received {@code round}. */
  static SortedMap<String, Integer> seenAfter(
      SortedMap<String, Integer> seen, List<String> cohort, int round) {
    SortedMap<String, Integer> after = new TreeMap<>(seen);
    cohort.forEach(client -> after.put(client, round));
    return after;
  }
}
