package org.sparkpeft.merge.spark;

import java.io.Closeable;
import java.util.function.Consumer;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.StoredTensor;
import org.sparkpeft.core.io.TensorReader;
import org.sparkpeft.core.vector.FiniteCheck;
import org.sparkpeft.merge.method.Block;
import org.sparkpeft.merge.method.TensorScan;
import org.sparkpeft.merge.storage.Storage;

/** Reads task vectors, model minus base, block by block. For one thread. */
final class VectorReader implements Closeable {
  private final TensorReader[] readers;
  private final Block block;
  private final float[] base;
  private final float[] scratch;
  private final int ahead;
  private TensorReader[] evidenceReaders = {};
  private boolean apart;

  private VectorReader(int vectors, int capacity, int ahead) {
    this.readers = new TensorReader[vectors + 1];
    for (int t = 0; t <= vectors; t++) {
      readers[t] = new TensorReader(Storage.ANY, capacity, ahead);
    }
    this.block = new Block(vectors, capacity);
    this.base = new float[capacity];
    this.ahead = ahead;
    this.scratch = new float[capacity / 2 + 1];
  }

  /** For reading from one end to the other. */
  static VectorReader sequential(int vectors, int capacity, ReadPlan plan) {
    return new VectorReader(vectors, capacity, plan.aheadBytes());
  }

  /** For reading here and there. */
  static VectorReader scattered(int vectors, int capacity) {
    return new VectorReader(vectors, capacity, 0);
  }

  /** Entries of a block: the usual number, or as many whole rows as fit it, at least one. */
  static int capacity(MergedTensor tensor, boolean wholeRows) {
    if (!wholeRows) {
      return Block.USUAL;
    }
    return Math.max(1, Block.USUAL / tensor.columns()) * tensor.columns();
  }

  /** Base values of the block that was read last. */
  float[] base() {
    return base;
  }

  /** Reads entries in the tensor's order. */
  Block read(MergedTensor tensor, long from, int n) {
    return read(tensor, from, n, false);
  }

  /** Reads entries in the order that is sooner read, see {@link #isApart}. */
  Block readInAnyOrder(MergedTensor tensor, long from, int n) {
    return read(tensor, from, n, n % 2 == 0 && tensor.isAllBf16());
  }

  /**
   * Whether the block that was read last, and what belongs to it of the base, is in the order of
   * {@link TensorReader#readApart}, not in the tensor's.
   */
  boolean isApart() {
    return apart;
  }

  private Block read(MergedTensor tensor, long from, int n, boolean placesApart) {
    apart = placesApart;
    StoredTensor reference = tensor.base();
    if (reference != null) {
      read(readers.length - 1, reference, from, n, base);
    }
    for (int t = 0; t < tensor.sources().size(); t++) {
      read(t, tensor.sources().get(t), from, n, block.values(t));
      if (reference != null) {
        subtract(block.values(t), base, n);
      }
    }
    if (tensor.weighsEntries()) {
      readEvidence(tensor, from, n);
    }
    return block.at(from, n);
  }

  private void readEvidence(MergedTensor tensor, long from, int n) {
    int count = tensor.evidence().size();
    if (evidenceReaders.length < count) {
      evidenceReaders = new TensorReader[count];
      for (int t = 0; t < count; t++) {
        evidenceReaders[t] = new TensorReader(Storage.ANY, block.capacity(), ahead);
      }
      block.makeRoomForEvidence();
    }
    for (int t = 0; t < count; t++) {
      evidenceReaders[t].read(tensor.evidence().get(t), from, n, block.evidence(t));
    }
  }

  private void read(int reader, StoredTensor tensor, long from, int n, float[] into) {
    if (apart) {
      readers[reader].readApart(tensor, from, n, into);
    } else {
      readers[reader].read(tensor, from, n, into);
    }
  }

  private static void subtract(float[] values, float[] other, int n) {
    for (int i = 0; i < n; i++) {
      values[i] -= other[i];
    }
  }

  /**
   * @throws DataException if a value of the block read last is NaN or infinite
   */
  void requireFinite(MergedTensor tensor) {
    if (block.firstNotFinite() < 0) {
      return;
    }
    read(tensor, block.from(), block.length()); // places are those of the tensor now
    int t = block.firstNotFinite();
    int at = FiniteCheck.firstBad(block.values(t), block.length(), scratch);
    StoredTensor source = tensor.sources().get(t);
    throw new DataException(
        source.file()
            + ": entry "
            + (block.from() + at)
            + " of "
            + source.name()
            + (tensor.base() == null ? " is " : " minus the base is ")
            + block.values(t)[at]
            + "; only finite weights can be merged");
  }

  /** Reads {@code [from, to)} of a tensor in blocks. */
  void forEach(MergedTensor tensor, long from, long to, int step, Consumer<Block> visitor) {
    for (long at = from; at < to; at += step) {
      visitor.accept(read(tensor, at, (int) Math.min(step, to - at)));
    }
  }

  @Override
  public void close() {
    for (TensorReader reader : readers) {
      reader.close();
    }
    for (TensorReader reader : evidenceReaders) {
      reader.close();
    }
  }

  /** A tensor to a method's eyes. */
  @SuppressWarnings("ArrayRecordComponent") // Lives as long as a scan, is never compared.
  record Scan(MergedTensor tensor, long[] identities, ReadPlan plan) implements TensorScan {
    @Override
    public String name() {
      return tensor.name();
    }

    @Override
    public long size() {
      return tensor.elements();
    }

    @Override
    public int columns() {
      return tensor.columns();
    }

    @Override
    public int vectors() {
      return tensor.sources().size();
    }

    @Override
    public long identity(int vector) {
      return identities[vector];
    }

    @Override
    public void forEachEvidence(int vector, int step, Consumer<float[]> visitor) {
      StoredTensor evidence = tensor.evidence().get(vector);
      float[] values = new float[step];
      try (TensorReader reader = new TensorReader(Storage.ANY, step, plan.aheadBytes())) {
        for (long at = 0; at < evidence.elements(); at += step) {
          reader.read(evidence, at, (int) Math.min(step, evidence.elements() - at), values);
          visitor.accept(values);
        }
      }
    }

    @Override
    public void forEachBlock(boolean wholeRows, Consumer<Block> visitor) {
      int step = capacity(tensor, wholeRows);
      try (VectorReader vectors = sequential(vectors(), step, plan)) {
        vectors.forEach(tensor, 0, size(), step, visitor);
      }
    }
  }
}
