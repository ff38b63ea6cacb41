package org.sparkpeft.core.io;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonLocation;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.json.JsonWriteFeature;
import com.fasterxml.jackson.core.util.DefaultIndenter;
import com.fasterxml.jackson.core.util.DefaultPrettyPrinter;
import com.fasterxml.jackson.core.util.Separators;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.TreeMap;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;

/** JSON as this package reads and writes it: strict and bounded in, sorted and indented out. */
final class Json {
  /** Limit of configuration files; real ones have a few kilobytes. */
  static final int MAX_CONFIG_BYTES = 16 << 20;

  private static final int MAX_DEPTH = 64;

  /**
   * UTF-8 only, every key once. Field names are not interned: a file may hold a million of them,
   * chosen by a stranger.
   */
  static final JsonFactory STRICT =
      JsonFactory.builder()
          .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
          .disable(JsonFactory.Feature.INTERN_FIELD_NAMES)
          .disable(JsonFactory.Feature.CHARSET_DETECTION)
          .streamReadConstraints(StreamReadConstraints.builder().maxNestingDepth(MAX_DEPTH).build())
          .build();

  private static final ObjectMapper READER =
      new ObjectMapper(STRICT).enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

  private static final ObjectMapper WRITER =
      new ObjectMapper(JsonFactory.builder().enable(JsonWriteFeature.ESCAPE_NON_ASCII).build());

  private Json() {}

  /**
   * Reads a file that holds one JSON object.
   *
   * @throws DataException if it does not exist
   * @throws FormatException if it is longer than {@code maxBytes}, not JSON, not an object, or has
   *     a key twice
   */
  static ObjectNode readObject(Path file, int maxBytes) {
    return readObject(FileSource.LOCAL, file.toString(), maxBytes);
  }

  /** The same of any file system. */
  static ObjectNode readObject(FileSource source, String file, int maxBytes) {
    return readObject(readBounded(source, file, maxBytes), file);
  }

  /**
   * Reads one JSON object.
   *
   * @param file where the bytes are from, for messages
   */
  static ObjectNode readObject(byte[] bytes, String file) {
    try {
      if (READER.readTree(bytes) instanceof ObjectNode object) {
        return object;
      }
    } catch (JsonProcessingException e) {
      throw malformed(file, 0, e);
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read " + file, e);
    }
    throw new FormatException(file, 0, "must hold a JSON object {...}; replace the file");
  }

  static byte[] readBounded(Path file, int maxBytes) {
    return readBounded(FileSource.LOCAL, file.toString(), maxBytes);
  }

  static byte[] readBounded(FileSource source, String file, int maxBytes) {
    if (!source.isFile(file)) {
      throw new DataException("there is no file " + file);
    }
    try (ByteReader reader = source.open(file)) {
      if (reader.size() > maxBytes) {
        throw new FormatException(
            file,
            maxBytes,
            "longer than the " + maxBytes + " bytes allowed here; is it the right file?");
      }
      ByteBuffer bytes = ByteBuffer.allocate((int) reader.size());
      reader.readFully(bytes, 0);
      return bytes.array();
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read " + file, e);
    }
  }

  /**
   * @param base file position at which the JSON text starts
   */
  static FormatException malformed(String source, long base, JsonProcessingException e) {
    JsonLocation location = e.getLocation();
    long at = location == null ? 0 : Math.max(0, location.getByteOffset());
    return new FormatException(
        source,
        base + at,
        "not valid JSON: " + e.getOriginalMessage() + "; download or write the file again");
  }

  /** Indented by 2, keys sorted at every level, ASCII: what Python's json module writes. */
  static byte[] sortedAndIndented(JsonNode node) {
    DefaultIndenter lines = new DefaultIndenter("  ", "\n");
    DefaultPrettyPrinter printer =
        new DefaultPrettyPrinter(
            Separators.createDefaultInstance()
                .withObjectFieldValueSpacing(Separators.Spacing.AFTER)
                .withObjectEmptySeparator("")
                .withArrayEmptySeparator(""));
    printer.indentObjectsWith(lines);
    printer.indentArraysWith(lines);
    try {
      return WRITER
          .writer(printer)
          .writeValueAsString(sorted(node))
          .getBytes(StandardCharsets.UTF_8);
    } catch (JsonProcessingException e) {
      throw new IllegalStateException("a JSON tree can always be written", e);
    }
  }

  private static JsonNode sorted(JsonNode node) {
    if (node instanceof ObjectNode object) {
      TreeMap<String, JsonNode> fields = new TreeMap<>();
      object.properties().forEach(field -> fields.put(field.getKey(), sorted(field.getValue())));
      ObjectNode copy = JsonNodeFactory.instance.objectNode();
      fields.forEach(copy::set);
      return copy;
    }
    if (node instanceof ArrayNode array) {
      ArrayNode copy = JsonNodeFactory.instance.arrayNode(array.size());
      array.forEach(item -> copy.add(sorted(item)));
      return copy;
    }
    return node;
  }
}
