package org.sparkpeft.merge.adapter;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.zip.CRC32C;
import java.util.zip.DataFormatException;
import java.util.zip.Deflater;
import java.util.zip.Inflater;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.AtomicFiles;
import org.sparkpeft.core.io.Sha256;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.compress.Codec;
import org.sparkpeft.merge.compress.NonFiniteUpdateException;
import org.sparkpeft.merge.compress.Payload;
import org.sparkpeft.merge.compress.PayloadHeader;
import org.sparkpeft.merge.compress.Pipeline;

/**
 * A whole adapter as one compressed file. All numbers are little-endian:
 *
 * <pre>
 * u32   magic "SPTA"
 * u8    format version, 1
 * u32   length of the head, then the head: JSON, deflated (RFC 1950)
 * u32   length of the payload, then the payload, see {@link org.sparkpeft.merge.compress}
 * u32   CRC32C of everything before it
 * </pre>
 *
 * The head has {@code config} (adapter_config.json), {@code tensors} (a name and its shape each),
 * {@code pipeline} (how it was compressed) and, if the values are differences to those of another
 * adapter, {@code reference}, the SHA-256 of that one's values.
 */
public final class AdapterFile {
  /** What such a file starts with. */
  public static final int MAGIC = 'S' | 'P' << 8 | 'T' << 16 | 'A' << 24;

  private static final int VERSION = 1;
  private static final int MAX_HEAD_BYTES = 16 << 20;

  /** Most parameters: a file of few bytes must not claim the memory of many. */
  private static final int MAX_ENTRIES = 1 << 28;

  private static final ObjectMapper JSON = new ObjectMapper();

  private final ObjectNode config;
  private final String pipeline;
  private final String reference;
  private final Payload payload;
  private final long fileBytes;

  private AdapterFile(
      ObjectNode config, String pipeline, String reference, Payload payload, long fileBytes) {
    this.config = config;
    this.pipeline = pipeline;
    this.reference = reference;
    this.payload = payload;
    this.fileBytes = fileBytes;
  }

  /**
   * Compresses an adapter into a file.
   *
   * @param adapter directory of any PEFT method
   * @param reference adapter of the same layout whose values are subtracted first, for example the
   *     one that training started from; without one, small values of the adapter itself are lost
   * @throws DataException if values are not finite or not floating, or the reference does not fit
   */
  public static AdapterFile compress(
      Path adapter, Optional<Path> reference, Pipeline pipeline, Path file) {
    byte[] bytes =
        bytes(AdapterDirectory.read(adapter), reference.map(AdapterDirectory::read), pipeline);
    AtomicFiles.write(file, bytes);
    return parse(bytes, file.toString());
  }

  /**
   * The values that are left of an adapter once it was compressed and decompressed, by the name of
   * the tensor; nothing is written.
   *
   * @param reference as for {@link #compress}
   * @throws DataException as {@link #compress}
   */
  public static SortedMap<String, TensorData> preview(
      AdapterDirectory adapter, Optional<AdapterDirectory> reference, Pipeline pipeline) {
    byte[] bytes = bytes(adapter, reference, pipeline);
    return parse(bytes, adapter.path().toString()).tensors(reference);
  }

  private static byte[] bytes(
      AdapterDirectory read, Optional<AdapterDirectory> reference, Pipeline pipeline) {
    ParameterVector values = values(read);
    ParameterVector start =
        reference.map(other -> reference(other, values.layout())).orElse(zeros(values.layout()));
    PayloadHeader header = PayloadHeader.of(0, "", values.layout());
    byte[] payload;
    try {
      payload = Codec.of(pipeline).encode(values.minus(start), header);
    } catch (NonFiniteUpdateException e) {
      throw new DataException(read.path() + " cannot be compressed: " + e.getMessage(), e);
    }
    ObjectNode head = JSON.createObjectNode();
    head.set("config", read.config());
    ObjectNode tensors = head.putObject("tensors");
    values
        .layout()
        .shapes()
        .forEach((name, shape) -> shape.forEach(tensors.withArrayProperty(name)::add));
    head.put("pipeline", pipeline.toString());
    reference.ifPresent(unused -> head.put("reference", sha(start)));
    return assemble(head, payload);
  }

  private static ParameterVector zeros(ParameterLayout layout) {
    return ParameterVector.zeros(layout);
  }

  private static ParameterVector values(AdapterDirectory adapter) {
    Map<String, List<Integer>> shapes = new TreeMap<>();
    for (TensorData tensor : adapter.tensors().values()) {
      if (tensor.elements() == 0) {
        throw new DataException(adapter.path() + " has the empty tensor " + tensor.name());
      }
      shapes.put(tensor.name(), tensor.shape());
    }
    ParameterLayout layout = ParameterLayout.of(shapes);
    float[] values = new float[layout.size()];
    for (ParameterLayout.Entry entry : layout.entries()) {
      float[] own = tensor(adapter, entry.name()).toFloats();
      System.arraycopy(own, 0, values, entry.offset(), own.length);
    }
    return ParameterVector.wrap(layout, values);
  }

  private static TensorData tensor(AdapterDirectory adapter, String name) {
    return Optional.ofNullable(adapter.tensors().get(name)).orElseThrow();
  }

  private static ParameterVector reference(AdapterDirectory adapter, ParameterLayout layout) {
    ParameterVector values = values(adapter);
    if (!values.layout().equals(layout)) {
      throw new DataException(
          adapter.path() + " has other tensors than the adapter, so it cannot be its reference");
    }
    return values;
  }

  private static String sha(ParameterVector values) {
    ByteBuffer bytes = ByteBuffer.allocate(4 * values.size()).order(ByteOrder.LITTLE_ENDIAN);
    bytes.asFloatBuffer().put(values.view());
    return new Sha256().update(bytes).hex();
  }

  private static byte[] assemble(ObjectNode head, byte[] payload) {
    byte[] packed = deflate(head.toString().getBytes(StandardCharsets.UTF_8));
    ByteBuffer bytes =
        ByteBuffer.allocate(4 + 1 + 4 + packed.length + 4 + payload.length + 4)
            .order(ByteOrder.LITTLE_ENDIAN);
    bytes.putInt(MAGIC).put((byte) VERSION);
    bytes.putInt(packed.length).put(packed);
    bytes.putInt(payload.length).put(payload);
    bytes.putInt(crc(bytes.array(), bytes.position()));
    return bytes.array();
  }

  private static int crc(byte[] bytes, int length) {
    CRC32C crc = new CRC32C();
    crc.update(bytes, 0, length);
    return (int) crc.getValue();
  }

  private static byte[] deflate(byte[] bytes) {
    Deflater deflater = new Deflater(Deflater.BEST_COMPRESSION);
    deflater.setInput(bytes);
    deflater.finish();
    ByteArrayOutputStream packed = new ByteArrayOutputStream();
    byte[] buffer = new byte[4096];
    while (!deflater.finished()) {
      packed.write(buffer, 0, deflater.deflate(buffer));
    }
    deflater.end();
    return packed.toByteArray();
  }

  /**
   * Reads a file that may come from anywhere.
   *
   * @throws DataException if there is none
   * @throws FormatException if it is no compressed adapter, or a damaged one
   */
  public static AdapterFile read(Path file) {
    if (!Files.isRegularFile(file)) {
      throw new DataException("there is no file " + file);
    }
    try {
      return parse(Files.readAllBytes(file), file.toString());
    } catch (IOException e) {
      throw new DataException("cannot read " + file + ": " + e.getMessage(), e);
    }
  }

  static AdapterFile parse(byte[] bytes, String source) {
    int end = bytes.length - 4;
    ByteBuffer in = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    if (end < 13 || in.getInt() != MAGIC) {
      throw new FormatException(source, 0, "is no compressed adapter");
    }
    if (in.getInt(end) != crc(bytes, end)) {
      throw new FormatException(source, end, "the checksum is wrong; copy the file again");
    }
    int version = in.get();
    if (version != VERSION) {
      throw new FormatException(
          source, 4, "has format version " + version + ", this program reads " + VERSION);
    }
    byte[] packed = part(in, end, source);
    byte[] payload = part(in, end, source);
    if (in.position() != end) {
      throw new FormatException(source, in.position(), "has bytes after its end");
    }
    ObjectNode head = head(packed, source);
    ParameterLayout layout = layout(head, source);
    return new AdapterFile(
        (ObjectNode) head.get("config"),
        head.path("pipeline").asText(""),
        head.path("reference").asText(""),
        Payload.decode(payload, layout),
        bytes.length);
  }

  private static byte[] part(ByteBuffer in, int end, String source) {
    int length = end - in.position() >= 4 ? in.getInt() : -1;
    if (length < 0 || length > end - in.position()) {
      throw new FormatException(source, in.position(), "a part is longer than the file");
    }
    byte[] part = new byte[length];
    in.get(part);
    return part;
  }

  private static ObjectNode head(byte[] packed, String source) {
    Inflater inflater = new Inflater();
    try {
      inflater.setInput(packed);
      ByteArrayOutputStream text = new ByteArrayOutputStream();
      byte[] buffer = new byte[4096];
      while (!inflater.finished()) {
        int n = inflater.inflate(buffer);
        if (n == 0 || text.size() > MAX_HEAD_BYTES) {
          throw new FormatException(source, 9, "the head is cut off or too long");
        }
        text.write(buffer, 0, n);
      }
      if (JSON.readTree(text.toByteArray()) instanceof ObjectNode head
          && head.get("config") instanceof ObjectNode config
          && config.path("peft_type").isTextual()
          && head.get("tensors") instanceof ObjectNode tensors
          && !tensors.isEmpty()) {
        return head;
      }
      throw new FormatException(source, 9, "the head lacks config or tensors");
    } catch (DataFormatException | JsonProcessingException e) {
      throw new FormatException(source, "the head is damaged", e);
    } catch (IOException e) {
      throw new FormatException(source, "the head cannot be read", e);
    } finally {
      inflater.end();
    }
  }

  private static ParameterLayout layout(ObjectNode head, String source) {
    Map<String, List<Integer>> shapes = new TreeMap<>();
    long total = 0;
    for (Map.Entry<String, JsonNode> tensor : head.get("tensors").properties()) {
      List<Integer> shape = new ArrayList<>();
      long entries = 1;
      if (!(tensor.getValue() instanceof ArrayNode dimensions) || dimensions.size() > 8) {
        throw new FormatException(source, 9, "the shape of " + tensor.getKey() + " is no list");
      }
      for (JsonNode dimension : dimensions) {
        if (!dimension.isInt() || dimension.intValue() < 1) {
          throw new FormatException(
              source, 9, tensor.getKey() + " has a dimension of " + dimension);
        }
        shape.add(dimension.intValue());
        entries = Math.min(MAX_ENTRIES + 1L, entries * dimension.intValue());
      }
      shapes.put(tensor.getKey(), shape);
      total += entries;
    }
    if (total > MAX_ENTRIES) {
      throw new FormatException(
          source, 9, "claims more than the " + MAX_ENTRIES + " parameters an adapter may have");
    }
    try {
      return ParameterLayout.of(shapes);
    } catch (IllegalArgumentException e) {
      throw new FormatException(source, "the head names no tensors that can be", e);
    }
  }

  /**
   * Writes the adapter that the file holds; an earlier adapter there is replaced.
   *
   * @param reference the adapter it was compressed against, if there was one
   * @throws DataException if the reference is missing or another
   */
  public void decompress(Path out, Optional<Path> reference) {
    SortedMap<String, TensorData> tensors = tensors(reference.map(AdapterDirectory::read));
    try {
      AdapterDirectory.write(out, config, tensors);
    } catch (IllegalArgumentException e) {
      throw new DataException("the file holds no valid configuration: " + e.getMessage(), e);
    }
  }

  private SortedMap<String, TensorData> tensors(Optional<AdapterDirectory> reference) {
    ParameterLayout layout = payload.vector().layout();
    ParameterVector start =
        reference.map(adapter -> reference(adapter, layout)).orElse(zeros(layout));
    String expected = this.reference;
    String given = reference.isPresent() ? sha(start) : "";
    if (!expected.equals(given)) {
      throw new DataException(
          expected.isEmpty()
              ? "the file was compressed without a reference; leave it out"
              : reference.isPresent()
                  ? "the file was compressed against another reference, of SHA-256 " + expected
                  : "the file holds differences to a reference adapter; give it with --reference");
    }
    ParameterVector values = start.plus(payload.vector());
    SortedMap<String, TensorData> tensors = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    float[] all = values.toArray();
    for (ParameterLayout.Entry entry : layout.entries()) {
      float[] own = Arrays.copyOfRange(all, entry.offset(), entry.end());
      tensors.put(entry.name(), TensorData.ofFloats(entry.name(), entry.shape(), own));
    }
    return tensors;
  }

  /** A copy of adapter_config.json. */
  public ObjectNode config() {
    return config.deepCopy();
  }

  /** How it was compressed. */
  public String pipeline() {
    return pipeline;
  }

  /** SHA-256 of the reference's values, or empty. */
  public String reference() {
    return reference;
  }

  /** The values, or what they differ from the reference by, and what they cost. */
  public TaskVector vector() {
    return payload.vector();
  }

  public org.sparkpeft.merge.compress.PayloadStatistics statistics() {
    return payload.statistics();
  }

  /** Bytes of the whole file. */
  public long fileBytes() {
    return fileBytes;
  }
}
