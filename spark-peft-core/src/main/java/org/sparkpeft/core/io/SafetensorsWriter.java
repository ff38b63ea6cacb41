package org.sparkpeft.core.io;

import com.fasterxml.jackson.core.JsonGenerator;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * Writes safetensors files: the same tensors and metadata give the same bytes, which are also those
 * of the reference implementation. Tensors are ordered by type as in {@link DType}, then by the
 * UTF-8 bytes of their names, so that each starts at a multiple of its element size.
 */
public final class SafetensorsWriter {
  /** What Hugging Face writes into files of PyTorch tensors, and its loaders require. */
  public static final Map<String, String> DEFAULT_METADATA = Map.of("format", "pt");

  private static final int ALIGNMENT = 8;

  private static final Comparator<TensorData> FILE_ORDER =
      Comparator.comparing(TensorData::dtype)
          .thenComparing(TensorData::name, ParameterLayout.UTF8_ORDER);

  private SafetensorsWriter() {}

  /** Writes with {@link #DEFAULT_METADATA}. */
  public static void write(Path target, SortedMap<String, TensorData> tensors) {
    write(target, tensors, DEFAULT_METADATA);
  }

  /**
   * Writes the tensors to {@code target}, atomically.
   *
   * @param tensors by name
   * @param metadata free text; empty leaves the entry out
   * @throws IllegalArgumentException if a key is not its tensor's name or the header grows too long
   * @throws java.io.UncheckedIOException if the file cannot be written; nothing is left behind
   */
  public static void write(
      Path target, SortedMap<String, TensorData> tensors, Map<String, String> metadata) {
    tensors.forEach(
        (name, tensor) -> {
          if (!name.equals(tensor.name())) {
            throw new IllegalArgumentException(
                "tensor " + tensor.name() + " is listed as " + name + "; rename it first");
          }
        });
    if (tensors.containsKey(SafetensorsHeader.METADATA)) {
      throw new IllegalArgumentException("no tensor may be named " + SafetensorsHeader.METADATA);
    }
    List<TensorData> ordered = new ArrayList<>(tensors.values());
    ordered.sort(FILE_ORDER);
    List<TensorInfo> infos =
        ordered.stream()
            .map(t -> new TensorInfo(t.name(), t.dtype(), t.shape(), 0, t.raw().remaining()))
            .toList();
    ByteBuffer header = header(infos, metadata);
    AtomicFiles.write(
        target,
        channel -> {
          AtomicFiles.writeFully(channel, header);
          for (TensorData tensor : ordered) {
            AtomicFiles.writeFully(channel, tensor.raw());
          }
        });
  }

  /**
   * A file to be filled piece by piece.
   *
   * @param header its first bytes
   * @param tensors in file order, with their places
   */
  public record Layout(ByteBuffer header, List<TensorInfo> tensors) {
    public Layout {
      tensors = List.copyOf(tensors);
    }

    /** Bytes of the whole file. */
    public long fileBytes() {
      return tensors.isEmpty() ? header.limit() : tensors.get(tensors.size() - 1).end();
    }
  }

  /**
   * Lays out a file as {@link #write} would.
   *
   * @param tensors name, type, shape and bytes; offsets do not matter
   */
  public static Layout layout(Collection<TensorInfo> tensors, Map<String, String> metadata) {
    List<TensorInfo> ordered = new ArrayList<>(tensors);
    ordered.sort(
        Comparator.comparing(TensorInfo::dtype)
            .thenComparing(TensorInfo::name, ParameterLayout.UTF8_ORDER));
    ByteBuffer header = header(ordered, metadata);
    long offset = header.limit();
    List<TensorInfo> placed = new ArrayList<>();
    for (TensorInfo tensor : ordered) {
      placed.add(
          new TensorInfo(tensor.name(), tensor.dtype(), tensor.shape(), offset, tensor.bytes()));
      offset += tensor.bytes();
    }
    return new Layout(header, placed);
  }

  /** Length field and header, padded with spaces to a multiple of 8. */
  private static ByteBuffer header(List<TensorInfo> ordered, Map<String, String> metadata) {
    ByteArrayOutputStream json = new ByteArrayOutputStream();
    try (JsonGenerator generator = Json.STRICT.createGenerator(json)) {
      generator.writeStartObject();
      if (!metadata.isEmpty()) {
        generator.writeObjectFieldStart(SafetensorsHeader.METADATA);
        for (Map.Entry<String, String> entry : new TreeMap<>(metadata).entrySet()) {
          generator.writeStringField(entry.getKey(), entry.getValue());
        }
        generator.writeEndObject();
      }
      long offset = 0;
      for (TensorInfo tensor : ordered) {
        long end = offset + tensor.bytes();
        writeEntry(generator, tensor, offset, end);
        offset = end;
      }
      generator.writeEndObject();
    } catch (IOException e) {
      throw new IllegalStateException("writing to memory cannot fail", e);
    }
    while (json.size() % ALIGNMENT != 0) {
      json.write(' ');
    }
    if (json.size() > SafetensorsHeader.MAX_BYTES) {
      throw new IllegalArgumentException(
          "a safetensors header may have "
              + SafetensorsHeader.MAX_BYTES
              + " bytes, got "
              + json.size()
              + " for "
              + ordered.size()
              + " tensors; write several files");
    }
    ByteBuffer bytes = ByteBuffer.allocate(Long.BYTES + json.size()).order(ByteOrder.LITTLE_ENDIAN);
    return bytes.putLong(json.size()).put(json.toByteArray()).flip();
  }

  private static void writeEntry(JsonGenerator generator, TensorInfo tensor, long offset, long end)
      throws IOException {
    generator.writeObjectFieldStart(tensor.name());
    generator.writeStringField("dtype", tensor.dtype().name());
    generator.writeArrayFieldStart("shape");
    for (int dimension : tensor.shape()) {
      generator.writeNumber(dimension);
    }
    generator.writeEndArray();
    generator.writeArrayFieldStart("data_offsets");
    generator.writeNumber(offset);
    generator.writeNumber(end);
    generator.writeEndArray();
    generator.writeEndObject();
  }
}
