package org.sparkpeft.federated.client;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.FormatException;

/** What a method's observer tells the driver about one client's training, as bytes. */
final class MethodReport {
  /** A report is statistics, not another model. */
  static final int MAX_BYTES = 256 << 20;

  private MethodReport() {}

  /**
   * @throws IllegalStateException if a number is not finite or there are too many
   */
  static Bytes encode(Map<String, float[]> report) {
    if (report.isEmpty()) {
      return Bytes.EMPTY;
    }
    try {
      ByteArrayOutputStream buffer = new ByteArrayOutputStream();
      DataOutputStream out = new DataOutputStream(buffer);
      out.writeInt(report.size());
      for (Map.Entry<String, float[]> entry : new TreeMap<>(report).entrySet()) {
        out.writeUTF(entry.getKey());
        out.writeInt(entry.getValue().length);
        for (float value : entry.getValue()) {
          if (!Float.isFinite(value)) {
            throw new IllegalStateException(
                "the method's statistic " + entry.getKey() + " holds " + value);
          }
          out.writeFloat(value);
        }
      }
      if (buffer.size() > MAX_BYTES) {
        throw new IllegalStateException(
            "the method's statistics take " + buffer.size() + " bytes, at most " + MAX_BYTES);
      }
      return Bytes.wrap(buffer.toByteArray());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /**
   * @throws FormatException if the bytes are malformed
   */
  static SortedMap<String, float[]> decode(String client, Bytes bytes) {
    SortedMap<String, float[]> report = new TreeMap<>();
    if (bytes.isEmpty()) {
      return report;
    }
    try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes.array()))) {
      int count = in.readInt();
      for (int i = 0; i < count; i++) {
        String name = in.readUTF();
        int size = in.readInt();
        if (size < 0 || size > in.available() / 4) {
          throw new IOException(
              name + " says " + size + " numbers, " + in.available() + " bytes follow");
        }
        float[] values = new float[size];
        for (int j = 0; j < size; j++) {
          values[j] = in.readFloat();
        }
        report.put(name, values);
      }
      return report;
    } catch (IOException e) {
      throw new FormatException(
          "statistics of client " + client, "are malformed: " + e.getMessage(), e);
    }
  }
}
