package org.sparkpeft.core.io;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;

/**
 * A safetensors file from an untrusted source, mapped into memory: 8 bytes header length
 * (little-endian), a JSON header, then the data, little-endian and row-major. The whole header is
 * checked when the file is opened. Files and tensors may exceed 2 GiB.
 *
 * <p>Values are read from the mapping when asked for, so the file must not be shortened or written
 * in place meanwhile; replacing it by a rename, as {@link AtomicFiles} does, is fine.
 */
public final class SafetensorsFile implements WeightSource {
  private static final int LENGTH_BYTES = 8;

  private final Path path;
  private final SafetensorsHeader header;
  private volatile @Nullable MappedRegions regions;

  private SafetensorsFile(Path path, SafetensorsHeader header, MappedRegions regions) {
    this.path = path;
    this.header = header;
    this.regions = regions;
  }

  /**
   * Opens and checks a file.
   *
   * @throws DataException if there is no such file
   * @throws FormatException if it is not a valid safetensors file
   */
  public static SafetensorsFile open(Path path) {
    return open(path, MappedRegions.MAX_REGION);
  }

  static SafetensorsFile open(Path path, long maxRegion) {
    if (!Files.isRegularFile(path)) {
      throw new DataException("there is no file " + path);
    }
    try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
      long fileBytes = channel.size();
      byte[] json = readHeader(path.toString(), channel, fileBytes);
      SafetensorsHeader header = SafetensorsHeader.parse(path.toString(), json, fileBytes);
      return new SafetensorsFile(
          path, header, MappedRegions.map(channel, header.inFileOrder(), maxRegion));
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read " + path, e);
    }
  }

  private static byte[] readHeader(String source, FileChannel channel, long fileBytes)
      throws IOException {
    if (fileBytes < LENGTH_BYTES) {
      throw new FormatException(
          source,
          0,
          "has "
              + fileBytes
              + " bytes, a safetensors file at least "
              + LENGTH_BYTES
              + "; download it again");
    }
    ByteBuffer length = ByteBuffer.allocate(LENGTH_BYTES).order(ByteOrder.LITTLE_ENDIAN);
    readFully(source, channel, length, 0);
    long headerBytes = length.getLong(0);
    long limit = Math.min(SafetensorsHeader.MAX_BYTES, fileBytes - LENGTH_BYTES);
    if (headerBytes < 0 || headerBytes > limit) {
      throw new FormatException(
          source,
          0,
          "header length "
              + Long.toUnsignedString(headerBytes)
              + " exceeds the limit of "
              + limit
              + " bytes for this file; it is cut off or not a safetensors file, download it again");
    }
    ByteBuffer json = ByteBuffer.allocate((int) headerBytes);
    readFully(source, channel, json, LENGTH_BYTES);
    return json.array();
  }

  private static void readFully(String source, FileChannel channel, ByteBuffer target, long start)
      throws IOException {
    while (target.hasRemaining()) {
      long at = start + target.position();
      if (channel.read(target, at) < 0) {
        throw new FormatException(
            source, at, "ended early; another process is writing it, try again when it is done");
      }
    }
  }

  public Path path() {
    return path;
  }

  @Override
  public Set<String> names() {
    return Collections.unmodifiableSet(header.tensors().keySet());
  }

  @Override
  public boolean contains(String name) {
    return header.tensors().containsKey(name);
  }

  /** The {@code __metadata__} entry, sorted; empty if there is none. */
  public Map<String, String> metadata() {
    return header.metadata();
  }

  /**
   * Type, shape and place of a tensor.
   *
   * @throws DataException if there is no such tensor
   */
  public TensorInfo info(String name) {
    TensorInfo info = header.tensors().get(name);
    if (info == null) {
      throw new DataException(
          path + " has no tensor named " + name + " among its " + header.tensors().size());
    }
    return info;
  }

  @Override
  public List<Integer> shape(String name) {
    return info(name).shape();
  }

  @Override
  public float[] floats(String name) {
    TensorInfo info = info(name);
    TensorData.requireFloating(name, info.dtype());
    if (info.elements() > Integer.MAX_VALUE - 8) {
      throw new DataException(
          path
              + ": tensor "
              + name
              + " has "
              + info.elements()
              + " values, an array holds at most "
              + (Integer.MAX_VALUE - 8));
    }
    float[] values = new float[(int) info.elements()];
    int at = 0;
    for (ByteBuffer view : open().views(info)) {
      Elements.toFloats(info.dtype(), view, values, at);
      at += view.remaining() / info.dtype().bytes();
    }
    return values;
  }

  @Override
  public TensorData tensor(String name) {
    TensorInfo info = info(name);
    List<ByteBuffer> views = open().views(info);
    if (views.size() > 1) {
      throw new DataException(
          path
              + ": tensor "
              + name
              + " has "
              + info.bytes()
              + " bytes, at most "
              + MappedRegions.MAX_REGION
              + " can be handled as one piece");
    }
    ByteBuffer raw = views.isEmpty() ? ByteBuffer.allocate(0) : views.get(0);
    return TensorData.of(name, info.dtype(), info.shape(), raw);
  }

  /** The bytes of a tensor in order, in as few views as possible. */
  List<ByteBuffer> views(String name) {
    return open().views(info(name));
  }

  /** Lets go of the mapping; names and shapes stay readable. */
  @Override
  public void close() {
    regions = null;
  }

  private MappedRegions open() {
    MappedRegions current = regions;
    if (current == null) {
      throw new IllegalStateException(path + " is closed");
    }
    return current;
  }
}
