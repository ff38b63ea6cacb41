package org.sparkpeft.merge.spark;

import java.io.IOException;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.function.LongConsumer;
import java.util.zip.CRC32C;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.io.FloatWriter;
import org.sparkpeft.core.io.StoredTensor;
import org.sparkpeft.core.io.TensorReader;
import org.sparkpeft.merge.method.Block;
import org.sparkpeft.merge.method.TensorPlan;

/** Merges pieces of tensors into their places in a file that is there already. */
final class PieceMerge {
  /**
   * Blocks are gathered before they are written: a write for each would cost more than the rest.
   */
  private static final int WRITE_BYTES = 1 << 18;

  private PieceMerge() {}

  /**
   * A piece to merge.
   *
   * @param tensor what of
   * @param plan how; null if it is copied
   * @param position where the tensor starts in the file
   */
  record Task(MergedTensor tensor, @Nullable TensorPlan plan, long from, long to, long position)
      implements Serializable {}

  /**
   * Pieces of one file.
   *
   * @param file the file to write into
   */
  record Batch(String file, List<Task> tasks) implements Serializable {}

  /** Checksum of the bytes a piece wrote, at {@code position} of the file. */
  record Written(long position, long bytes, long crc) implements Serializable {}

  static List<Written> run(Batch batch, LongConsumer progress) {
    List<Written> written = new ArrayList<>();
    try (FileChannel file = FileChannel.open(Path.of(batch.file()), StandardOpenOption.WRITE)) {
      for (Task task : batch.tasks()) {
        int width = task.tensor().dtype().bytes();
        long position = task.position() + task.from() * width;
        Output output = new Output(file, position);
        if (task.plan() == null) {
          copy(task, output);
        } else {
          merge(task, task.plan(), output);
        }
        written.add(output.finish());
        progress.accept((task.to() - task.from()) * width);
      }
    } catch (IOException e) {
      throw new UncheckedIOException("cannot write " + batch.file(), e);
    }
    return written;
  }

  private static void merge(Task task, TensorPlan plan, Output output) throws IOException {
    MergedTensor tensor = task.tensor();
    int step = VectorReader.capacity(tensor, plan.wholeRows());
    float[] out = new float[step];
    FloatWriter writer = new FloatWriter(tensor.dtype(), step);
    try (VectorReader vectors = VectorReader.sequential(tensor.sources().size(), step)) {
      for (long at = task.from(); at < task.to(); at += step) {
        int n = (int) Math.min(step, task.to() - at);
        Block block = vectors.read(tensor, at, n);
        vectors.requireFinite(tensor);
        plan.merge(block, out);
        if (tensor.base() != null) {
          add(out, vectors.base(), n);
        }
        output.put(writer.encode(out, n, tensor.name()));
      }
    }
  }

  private static void add(float[] values, float[] other, int n) {
    for (int i = 0; i < n; i++) {
      values[i] += other[i];
    }
  }

  private static void copy(Task task, Output output) throws IOException {
    MergedTensor tensor = task.tensor();
    StoredTensor source = tensor.sources().get(0);
    int step = Block.USUAL;
    try (TensorReader reader = new TensorReader(step, WRITE_BYTES)) {
      if (source.dtype() == tensor.dtype()) {
        for (long at = task.from(); at < task.to(); at += step) {
          output.put(reader.raw(source, at, (int) Math.min(step, task.to() - at)));
        }
        return;
      }
      float[] values = new float[step];
      FloatWriter writer = new FloatWriter(tensor.dtype(), step);
      for (long at = task.from(); at < task.to(); at += step) {
        int n = (int) Math.min(step, task.to() - at);
        reader.read(source, at, n, values);
        output.put(writer.encode(values, n, tensor.name()));
      }
    }
  }

  /** Gathers, sums up and writes. */
  private static final class Output {
    private final FileChannel file;
    private final long start;
    private final CRC32C crc = new CRC32C();
    private final ByteBuffer gathered = ByteBuffer.allocateDirect(WRITE_BYTES);
    private long position;

    Output(FileChannel file, long start) {
      this.file = file;
      this.start = start;
      this.position = start;
    }

    void put(ByteBuffer bytes) throws IOException {
      while (bytes.hasRemaining()) {
        if (!gathered.hasRemaining()) {
          flush();
        }
        int n = Math.min(bytes.remaining(), gathered.remaining());
        int end = bytes.limit();
        gathered.put(bytes.limit(bytes.position() + n));
        bytes.limit(end);
      }
    }

    private void flush() throws IOException {
      gathered.flip();
      crc.update(gathered.duplicate());
      while (gathered.hasRemaining()) {
        position += file.write(gathered, position);
      }
      gathered.clear();
    }

    Written finish() throws IOException {
      flush();
      return new Written(start, position - start, crc.getValue());
    }
  }
}
