package org.sparkpeft.federated.client;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;

/**
 * Some clients' updates summed on an executor, and how each client fared.
 *
 * @param sums an {@link org.sparkpeft.federated.aggregate.Accumulator}'s bytes
 * @param clients the clients whose results went in, payloads removed
 * @param payloadBytes bytes of the accepted clients' payloads, one for each entry of {@code
 *     clients}; 0 where nothing was accepted
 * @param boundBits per-tensor entropy bound of the accepted payloads
 * @param parameters parameters they describe
 * @param codecSeconds time spent decoding
 * @param foldSeconds time spent adding
 */
public record FoldedUpdates(
    Bytes sums,
    List<ClientResult> clients,
    List<Long> payloadBytes,
    double boundBits,
    long parameters,
    double codecSeconds,
    double foldSeconds) {
  public FoldedUpdates {
    clients = List.copyOf(clients);
    payloadBytes = List.copyOf(payloadBytes);
    if (clients.size() != payloadBytes.size()) {
      throw new IllegalArgumentException(
          clients.size() + " clients but " + payloadBytes.size() + " payload sizes");
    }
  }

  byte[] toBytes() {
    try {
      ByteArrayOutputStream bytes = new ByteArrayOutputStream(256 + sums.size());
      DataOutputStream out = new DataOutputStream(bytes);
      out.writeInt(clients.size());
      for (int i = 0; i < clients.size(); i++) {
        byte[] client = clients.get(i).toBytes();
        out.writeInt(client.length);
        out.write(client);
        out.writeLong(payloadBytes.get(i));
      }
      out.writeDouble(boundBits);
      out.writeLong(parameters);
      out.writeDouble(codecSeconds);
      out.writeDouble(foldSeconds);
      out.write(sums.array());
      return bytes.toByteArray();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  public static FoldedUpdates fromBytes(byte[] bytes) {
    try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
      int count = in.readInt();
      List<ClientResult> clients = new ArrayList<>();
      List<Long> sizes = new ArrayList<>();
      for (int i = 0; i < count; i++) {
        clients.add(ClientResult.fromBytes(in.readNBytes(in.readInt())));
        sizes.add(in.readLong());
      }
      double boundBits = in.readDouble();
      long parameters = in.readLong();
      double codecSeconds = in.readDouble();
      double foldSeconds = in.readDouble();
      return new FoldedUpdates(
          Bytes.wrap(in.readAllBytes()),
          clients,
          sizes,
          boundBits,
          parameters,
          codecSeconds,
          foldSeconds);
    } catch (IOException e) {
      throw new UncheckedIOException("folded updates are malformed", e);
    }
  }
}
