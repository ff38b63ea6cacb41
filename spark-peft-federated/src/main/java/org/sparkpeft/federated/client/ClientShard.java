package org.sparkpeft.federated.client;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.train.TaskConfig;

/**
 * All examples of one client, as the model reads them, as one element of an RDD. Travels as bytes;
 * the examples are an Arrow record batch.
 *
 * @param clientId who
 * @param numExamples how many
 * @param labelCounts examples of each label in index order; one total where there are no classes
 * @param arrow the examples, as {@link org.sparkpeft.core.data.Examples#fromArrow} reads them
 */
record ClientShard(String clientId, long numExamples, List<Long> labelCounts, Bytes arrow) {
  ClientShard {
    labelCounts = List.copyOf(labelCounts);
  }

  /** A client's examples with what {@code rows} say of them. */
  static ClientShard of(
      TaskConfig task, String clientId, List<RawExample> rows, Examples examples) {
    return new ClientShard(
        clientId, rows.size(), labelCounts(task, rows), Bytes.wrap(examples.toArrow()));
  }

  private static List<Long> labelCounts(TaskConfig task, List<RawExample> rows) {
    if (task.labels().isEmpty()) {
      return List.of((long) rows.size());
    }
    Long[] counts = new Long[task.labels().size()];
    Arrays.fill(counts, 0L);
    boolean hot = task.task().equals("multi-label-classification");
    for (RawExample row : rows) {
      float[] targets = row.targets().values();
      for (int i = 0; i < targets.length; i++) {
        int label = hot ? i : (int) targets[i];
        if (!hot || targets[i] > 0) {
          counts[label]++;
        }
      }
    }
    return Collections.unmodifiableList(Arrays.asList(counts));
  }

  byte[] toBytes() {
    return write(arrow);
  }

  /** Everything but the examples. */
  byte[] headerBytes() {
    return write(Bytes.EMPTY);
  }

  private byte[] write(Bytes examples) {
    try {
      ByteArrayOutputStream bytes = new ByteArrayOutputStream(64 + examples.size());
      DataOutputStream out = new DataOutputStream(bytes);
      out.writeUTF(clientId);
      out.writeLong(numExamples);
      out.writeInt(labelCounts.size());
      for (long count : labelCounts) {
        out.writeLong(count);
      }
      out.write(examples.array());
      return bytes.toByteArray();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static ClientShard fromBytes(byte[] bytes) {
    try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
      String clientId = in.readUTF();
      long numExamples = in.readLong();
      int labels = in.readInt();
      if (labels < 0 || labels > in.available() / Long.BYTES) {
        throw new IOException(labels + " label counts in " + in.available() + " bytes");
      }
      List<Long> counts = new ArrayList<>(labels);
      for (int i = 0; i < labels; i++) {
        counts.add(in.readLong());
      }
      return new ClientShard(clientId, numExamples, counts, Bytes.wrap(in.readAllBytes()));
    } catch (IOException e) {
      throw new UncheckedIOException("a client's shard is malformed", e);
    }
  }

  /** Only the id, without copying the rest. */
  static String clientIdOf(byte[] bytes) {
    try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
      return in.readUTF();
    } catch (IOException e) {
      throw new UncheckedIOException("a client's shard is malformed", e);
    }
  }
}
