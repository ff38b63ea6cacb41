package org.sparkpeft.merge.spark;

import java.io.IOException;
import java.io.Serializable;
import java.util.function.LongConsumer;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.FloatWriter;
import org.sparkpeft.core.io.StoredTensor;
import org.sparkpeft.core.io.TensorReader;
import org.sparkpeft.merge.method.Block;
import org.sparkpeft.merge.method.TensorPlan;
import org.sparkpeft.merge.storage.Storage;

/** Merges pieces of tensors into their places in a file. */
final class PieceMerge {
  private PieceMerge() {}

  /**
   * A piece to merge.
   *
   * @param tensor what of
   * @param plan how; null if it is copied
   * @param finite whether all values are known to be finite
   * @param position where the tensor starts in the file
   */
  record Task(
      MergedTensor tensor,
      @Nullable TensorPlan plan,
      boolean finite,
      long from,
      long to,
      long position)
      implements Serializable {}

  /** Checksum of the bytes a piece wrote, at {@code position} of the file. */
  record Written(long position, long bytes, long crc) implements Serializable {}

  /**
   * Merges a piece.
   *
   * @param target where it is written
   * @param progress is told of bytes written
   */
  static Written run(Task task, ReadPlan reading, PieceOutput.Target target, LongConsumer progress)
      throws IOException {
    long position = task.position() + task.from() * task.tensor().dtype().bytes();
    PieceOutput output = new PieceOutput(target, position, progress);
    if (task.plan() == null) {
      copy(task, reading, output);
    } else {
      merge(task, task.plan(), reading, output);
    }
    return output.finish();
  }

  private static void merge(Task task, TensorPlan made, ReadPlan reading, PieceOutput output)
      throws IOException {
    MergedTensor tensor = task.tensor();
    TensorPlan plan = made.open(new VectorReader.Scan(tensor, new long[0], reading));
    int step = VectorReader.capacity(tensor, plan.wholeRows());
    float[] out = new float[step];
    FloatWriter writer = new FloatWriter(tensor.dtype(), step);
    try (VectorReader vectors = VectorReader.sequential(tensor.sources().size(), step, reading)) {
      for (long at = task.from(); at < task.to(); at += step) {
        int n = (int) Math.min(step, task.to() - at);
        Block block =
            tensor.dtype() == DType.BF16 && plan.takesAnyOrder(at, n)
                ? vectors.readInAnyOrder(tensor, at, n)
                : vectors.read(tensor, at, n);
        if (!task.finite()) {
          vectors.requireFinite(tensor);
        }
        plan.merge(block, out);
        if (tensor.base() != null) {
          add(out, vectors.base(), n);
        }
        output.put(
            vectors.isApart()
                ? writer.encodeApart(out, n, tensor.name())
                : writer.encode(out, n, tensor.name()));
      }
    }
  }

  private static void add(float[] values, float[] other, int n) {
    for (int i = 0; i < n; i++) {
      values[i] += other[i];
    }
  }

  private static void copy(Task task, ReadPlan reading, PieceOutput output) throws IOException {
    MergedTensor tensor = task.tensor();
    StoredTensor source = tensor.sources().get(0);
    int step = Block.USUAL;
    try (TensorReader reader =
        new TensorReader(Storage.ANY, step, Math.max(PieceOutput.BYTES, reading.aheadBytes()))) {
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
}
