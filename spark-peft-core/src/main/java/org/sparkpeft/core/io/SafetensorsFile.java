package org.sparkpeft.core.io;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
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
      SafetensorsHeader header =
          SafetensorsHeader.read(
              path.toString(), new FileSource.ChannelReader(channel, channel.size()));
      return new SafetensorsFile(
          path, header, MappedRegions.map(channel, header.inFileOrder(), maxRegion));
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read " + path, e);
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
