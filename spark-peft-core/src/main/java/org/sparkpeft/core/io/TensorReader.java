package org.sparkpeft.core.io;

import java.io.Closeable;
import java.io.EOFException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.nio.ShortBuffer;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.error.DataException;

/**
 * Reads parts of stored tensors into arrays that are used again and again. It reads rather than
 * maps the files: what has been read need not stay in this process, so a merge of many large files
 * stays small. For one thread.
 */
public final class TensorReader implements Closeable {
  /** Larger buffers lie on the heap: memory outside it is given back late. */
  private static final int MOST_DIRECT = 1 << 20;

  private final FileSource source;
  private final Map<String, ByteReader> files = new HashMap<>();
  private final ByteBuffer bytes;
  private final short[] shorts;
  private final long[] packed;
  private final long[] wide;
  private final LongBuffer wideLongs;
  private final FloatBuffer wideFloats;
  private final IntBuffer wideInts;
  private final int[] pairs;
  private final int[] halves;
  private final int capacity;
  private final int aheadBytes;

  /** What the buffer holds: elements {@code [heldFrom, heldTo)} of a tensor. */
  private @Nullable StoredTensor held;

  private long heldFrom;
  private long heldTo;

  /** Reads files of this machine. */
  public TensorReader(int capacity, int aheadBytes) {
    this(FileSource.LOCAL, capacity, aheadBytes);
  }

  /**
   * @param source where the files are
   * @param capacity most elements of one read
   * @param aheadBytes bytes fetched from the file at once, where a read is shorter; more of them
   *     mean fewer calls to the system where a tensor is read from one end to the other
   */
  public TensorReader(FileSource source, int capacity, int aheadBytes) {
    this.source = source;
    this.capacity = capacity;
    int buffer = Math.max(8 * capacity, aheadBytes);
    this.bytes =
        (buffer > MOST_DIRECT ? ByteBuffer.allocate(buffer) : ByteBuffer.allocateDirect(buffer))
            .order(ByteOrder.LITTLE_ENDIAN);
    this.aheadBytes = Math.min(aheadBytes, bytes.capacity());
    this.shorts = new short[capacity];
    this.packed = new long[capacity / 4];
    this.wide = new long[2 * packed.length];
    ByteBuffer bridge =
        ByteBuffer.allocateDirect(Float.BYTES * capacity).order(ByteOrder.LITTLE_ENDIAN);
    this.wideLongs = bridge.asLongBuffer();
    this.wideFloats = bridge.asFloatBuffer();
    this.wideInts = bridge.asIntBuffer();
    this.pairs = new int[capacity / 2];
    this.halves = new int[capacity / 2];
  }

  /**
   * Reads {@code count} elements from {@code from} on, widened exactly (F64: rounded).
   *
   * @throws DataException if the tensor holds integers or the file is shorter than it was
   */
  public void read(StoredTensor tensor, long from, int count, float[] into) {
    TensorData.requireFloating(tensor.name(), tensor.dtype());
    fill(tensor, from, count);
    switch (tensor.dtype()) {
      case BF16 -> widen(count, into);
      case F16 -> {
        halves(count);
        for (int i = 0; i < count; i++) {
          into[i] = Float16.toFloat(shorts[i]);
        }
      }
      default -> Elements.toFloats(tensor.dtype(), bytes, into, 0);
    }
  }

  /**
   * Reads {@code count} elements of BF16, those at even places first, then those at odd places: in
   * a third of the time, for who looks at each element by itself. {@link FloatWriter#encodeApart}
   * takes them in this order.
   *
   * @param count an even number
   */
  public void readApart(StoredTensor tensor, long from, int count, float[] into) {
    if (tensor.dtype() != DType.BF16 || count % 2 != 0) {
      throw new IllegalArgumentException(
          count + " elements of " + tensor.dtype() + " are no pairs");
    }
    fill(tensor, from, count);
    int half = count / 2;
    bytes.asIntBuffer().get(pairs, 0, half);
    firstOfPairs(pairs, halves, half);
    wideInts.put(0, halves, 0, half);
    secondOfPairs(pairs, halves, half);
    wideInts.put(half, halves, 0, half);
    wideFloats.get(0, into, 0, count);
  }

  private static void firstOfPairs(int[] pairs, int[] halves, int n) {
    for (int i = 0; i < n; i++) {
      halves[i] = pairs[i] << 16;
    }
  }

  private static void secondOfPairs(int[] pairs, int[] halves, int n) {
    for (int i = 0; i < n; i++) {
      halves[i] = pairs[i] & 0xffff0000;
    }
  }

  /** Reads {@code count} elements as they are stored; the buffer is valid until the next read. */
  public ByteBuffer raw(StoredTensor tensor, long from, int count) {
    fill(tensor, from, count);
    return bytes;
  }

  private void halves(int count) {
    ShortBuffer view = bytes.asShortBuffer();
    view.get(shorts, 0, count);
  }

  /**
   * BF16 is the upper half of F32. Four of them in a long become two longs of two floats each,
   * which takes half the time of one after the other.
   */
  private void widen(int count, float[] into) {
    int quads = count / 4;
    bytes.asLongBuffer().get(packed, 0, quads);
    spread(packed, wide, quads);
    wideLongs.put(0, wide, 0, 2 * quads);
    wideFloats.get(0, into, 0, 4 * quads);
    ShortBuffer view = bytes.asShortBuffer();
    for (int i = 4 * quads; i < count; i++) {
      into[i] = Float.intBitsToFloat(view.get(i) << 16);
    }
  }

  private static void spread(long[] packed, long[] wide, int quads) {
    for (int i = 0; i < quads; i++) {
      long low = packed[i];
      long high = low >>> 32;
      wide[2 * i] = (low & 0xffffL) << 16 | (low & 0xffff0000L) << 32;
      wide[2 * i + 1] = (high & 0xffffL) << 16 | (high & 0xffff0000L) << 32;
    }
  }

  /** Puts position and limit of the buffer around the elements. */
  private void fill(StoredTensor tensor, long from, int count) {
    if (count > capacity || from < 0 || from + count > tensor.elements()) {
      throw new IllegalArgumentException(
          "cannot read " + count + " elements from " + from + " of " + tensor);
    }
    if (tensor != held || from < heldFrom || from + count > heldTo) {
      int wanted = Math.max(count, aheadBytes / tensor.dtype().bytes());
      fetch(tensor, from, (int) Math.min(wanted, tensor.elements() - from));
    }
    int width = tensor.dtype().bytes();
    int start = (int) (from - heldFrom) * width;
    bytes.limit(start + count * width).position(start);
  }

  private void fetch(StoredTensor tensor, long from, int count) {
    held = null;
    int width = tensor.dtype().bytes();
    bytes.clear().limit(count * width);
    long start = tensor.offset() + from * width;
    try {
      file(tensor.file()).readFully(bytes, start);
    } catch (EOFException e) {
      throw new DataException(
          tensor.file() + " ends inside " + tensor.name() + "; it changed while being read", e);
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read " + tensor.file(), e);
    }
    bytes.clear();
    held = tensor;
    heldFrom = from;
    heldTo = from + count;
  }

  private ByteReader file(String location) throws IOException {
    ByteReader file = files.get(location);
    if (file == null) {
      file = source.open(location);
      files.put(location, file);
    }
    return file;
  }

  @Override
  public void close() {
    for (ByteReader file : files.values()) {
      try {
        file.close();
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }
}
