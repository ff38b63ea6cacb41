package org.sparkpeft.federated.client;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.SortedMap;

/**
 * What comes back from one client: how it went, and the payload when it went well. Travels as
 * bytes.
 *
 * @param clientId who
 * @param status {@code ok}, {@code failed}, {@code dropped} or {@code late}
 * @param numExamples its examples
 * @param steps optimiser updates
 * @param loss mean training loss, NaN when there is none
 * @param trainSeconds time in the training loop
 * @param codecSeconds time encoding
 * @param host where it ran
 * @param lane executor and thread it ran on: work on one lane follows, work on different lanes
 *     overlaps
 * @param attempt Spark attempt number
 * @param error exception class and message, empty when ok
 * @param frame first stack frame in this project's code, empty when ok
 * @param payload encoded update, empty unless ok
 * @param report what the method tells the driver, see {@link MethodReport}
 * @param trained which parts of the vector it trained, see {@link
 *     org.sparkpeft.federated.aggregate.Stretches}, as bits; empty unless ok
 */
public record ClientResult(
    String clientId,
    String status,
    long numExamples,
    long steps,
    double loss,
    double trainSeconds,
    double codecSeconds,
    String host,
    String lane,
    int attempt,
    String error,
    String frame,
    Bytes payload,
    Bytes report,
    Bytes trained) {
  public static final String OK = "ok";
  public static final String FAILED = "failed";
  public static final String DROPPED = "dropped";
  public static final String LATE = "late";

  public boolean isOk() {
    return status.equals(OK);
  }

  /** The same client, its update refused by the server. */
  public ClientResult dropped(String reason) {
    return new ClientResult(
        clientId,
        DROPPED,
        numExamples,
        steps,
        loss,
        trainSeconds,
        codecSeconds,
        host,
        lane,
        attempt,
        reason,
        frame,
        Bytes.EMPTY,
        Bytes.EMPTY,
        Bytes.EMPTY);
  }

  /** The same result without its payload. */
  public ClientResult withoutPayload() {
    return new ClientResult(
        clientId,
        status,
        numExamples,
        steps,
        loss,
        trainSeconds,
        codecSeconds,
        host,
        lane,
        attempt,
        error,
        frame,
        Bytes.EMPTY,
        report,
        trained);
  }

  /**
   * What the client's method reports, by name.
   *
   * @throws org.sparkpeft.core.error.FormatException if it is malformed
   */
  public SortedMap<String, float[]> methodReport() {
    return MethodReport.decode(clientId, report);
  }

  public byte[] toBytes() {
    try {
      ByteArrayOutputStream bytes = new ByteArrayOutputStream(256 + payload.size() + report.size());
      DataOutputStream out = new DataOutputStream(bytes);
      out.writeUTF(clientId);
      out.writeUTF(status);
      out.writeLong(numExamples);
      out.writeLong(steps);
      out.writeDouble(loss);
      out.writeDouble(trainSeconds);
      out.writeDouble(codecSeconds);
      out.writeUTF(host);
      out.writeUTF(lane);
      out.writeInt(attempt);
      out.writeUTF(error.length() > MAX_ERROR_CHARS ? error.substring(0, MAX_ERROR_CHARS) : error);
      out.writeUTF(frame);
      out.writeInt(payload.size());
      out.write(payload.array());
      out.writeInt(report.size());
      out.write(report.array());
      out.writeInt(trained.size());
      out.write(trained.array());
      return bytes.toByteArray();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static final int MAX_ERROR_CHARS = 4000;

  /** Reads what {@link #toBytes()} wrote. */
  public static ClientResult fromBytes(byte[] bytes) {
    try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
      return new ClientResult(
          in.readUTF(),
          in.readUTF(),
          in.readLong(),
          in.readLong(),
          in.readDouble(),
          in.readDouble(),
          in.readDouble(),
          in.readUTF(),
          in.readUTF(),
          in.readInt(),
          in.readUTF(),
          in.readUTF(),
          readBytes(in, bytes.length),
          readBytes(in, bytes.length),
          readBytes(in, bytes.length));
    } catch (IOException e) {
      throw new UncheckedIOException("a client's result is malformed", e);
    }
  }

  private static Bytes readBytes(DataInputStream in, int limit) throws IOException {
    int size = in.readInt();
    if (size < 0 || size > limit) {
      throw new IOException(size + " bytes in a result of " + limit);
    }
    return Bytes.wrap(in.readNBytes(size));
  }
}
