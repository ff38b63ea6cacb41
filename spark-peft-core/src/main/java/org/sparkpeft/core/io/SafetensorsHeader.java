package org.sparkpeft.core.io;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import java.io.EOFException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * The JSON header of a safetensors file, checked: every tensor has a known type and the size of its
 * shape, and together they cover the data exactly, without holes or overlap.
 *
 * @param tensors by name, in UTF-8 order
 * @param metadata the {@code __metadata__} entry, empty if there is none
 */
record SafetensorsHeader(
    SortedMap<String, TensorInfo> tensors, SortedMap<String, String> metadata) {
  /** Length field and header together: 8 bytes, then at most this many. */
  static final int MAX_BYTES = 100_000_000;

  static final String METADATA = "__metadata__";

  private static final int LENGTH_BYTES = 8;
  private static final int MAX_DIMENSIONS = 64;

  SafetensorsHeader {
    tensors = Collections.unmodifiableSortedMap(tensors);
    metadata = Collections.unmodifiableSortedMap(metadata);
  }

  /** Tensors in the order of their bytes. */
  List<TensorInfo> inFileOrder() {
    List<TensorInfo> infos = new ArrayList<>(tensors.values());
    infos.sort(Comparator.comparingLong(TensorInfo::offset).thenComparingLong(TensorInfo::end));
    return infos;
  }

  /**
   * Reads and checks the header of a file.
   *
   * @param source path, for messages
   * @throws FormatException if it is no safetensors file, or cut off
   */
  static SafetensorsHeader read(String source, ByteReader file) throws IOException {
    long fileBytes = file.size();
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
    long headerBytes = readFully(source, file, LENGTH_BYTES, 0).getLong(0);
    long limit = Math.min(MAX_BYTES, fileBytes - LENGTH_BYTES);
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
    byte[] json = readFully(source, file, (int) headerBytes, LENGTH_BYTES).array();
    return parse(source, json, fileBytes);
  }

  private static ByteBuffer readFully(String source, ByteReader file, int length, long start)
      throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(length).order(ByteOrder.LITTLE_ENDIAN);
    try {
      file.readFully(bytes, start);
    } catch (EOFException e) {
      throw new FormatException(
          source,
          start + bytes.position(),
          "ended early; another process is writing it, try again when it is done");
    }
    return bytes;
  }

  /**
   * Parses and checks a header.
   *
   * @param source path, for messages
   * @param json the header's bytes, which lie at position 8 of the file
   * @param fileBytes length of the file
   */
  static SafetensorsHeader parse(String source, byte[] json, long fileBytes) {
    if (json.length == 0 || json[0] != '{') {
      throw new FormatException(
          source, 8, "a safetensors header must start with '{'; is this a safetensors file?");
    }
    try (JsonParser parser = Json.STRICT.createParser(json)) {
      SafetensorsHeader header = new Reader(source, parser, 8L + json.length, fileBytes).read();
      header.requireExactCover(source, 8L + json.length, fileBytes);
      return header;
    } catch (JsonProcessingException e) {
      throw Json.malformed(source, 8, e);
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read " + source, e);
    }
  }

  private void requireExactCover(String source, long dataStart, long fileBytes) {
    long expected = dataStart;
    for (TensorInfo info : inFileOrder()) {
      if (info.offset() != expected) {
        throw new FormatException(
            source,
            info.offset(),
            "tensor "
                + info.name()
                + (info.offset() < expected
                    ? " overlaps its neighbour"
                    : " leaves a hole before it")
                + ": its data must start at byte "
                + expected
                + "; download or write the file again");
      }
      expected = info.end();
    }
    if (expected != fileBytes) {
      throw new FormatException(
          source,
          expected,
          (fileBytes - expected)
              + " bytes after the last tensor belong to none; download or write the file again");
    }
  }

  /** Walks the header's tokens once. */
  private static final class Reader {
    private final String source;
    private final JsonParser parser;
    private final long dataStart;
    private final long dataBytes;

    Reader(String source, JsonParser parser, long dataStart, long fileBytes) {
      this.source = source;
      this.parser = parser;
      this.dataStart = dataStart;
      this.dataBytes = fileBytes - dataStart;
    }

    SafetensorsHeader read() throws IOException {
      SortedMap<String, TensorInfo> tensors = new TreeMap<>(ParameterLayout.UTF8_ORDER);
      SortedMap<String, String> metadata = new TreeMap<>();
      expect(parser.nextToken(), JsonToken.START_OBJECT, "the header");
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        String name = text("a tensor name");
        if (name.equals(METADATA)) {
          readMetadata(metadata);
        } else {
          tensors.put(name, readTensor(name));
        }
      }
      if (parser.nextToken() != null) {
        throw wrong("the header must end after its closing '}'");
      }
      return new SafetensorsHeader(tensors, metadata);
    }

    private void readMetadata(SortedMap<String, String> metadata) throws IOException {
      expect(parser.nextToken(), JsonToken.START_OBJECT, METADATA);
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        String key = text("a metadata key");
        expect(parser.nextToken(), JsonToken.VALUE_STRING, METADATA + "." + key);
        metadata.put(key, text("a metadata value"));
      }
    }

    private TensorInfo readTensor(String name) throws IOException {
      expect(parser.nextToken(), JsonToken.START_OBJECT, name);
      Optional<DType> dtype = Optional.empty();
      @Nullable List<Integer> shape = null;
      @Nullable List<Long> offsets = null;
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        String key = parser.currentName();
        switch (key) {
          case "dtype" -> dtype = Optional.of(readDType(name));
          case "shape" -> shape = readShape(name);
          case "data_offsets" -> offsets = readNumbers(name + ".data_offsets", dataBytes, 2);
          default -> throw wrong(name + " has the unknown key " + key + "; drop it");
        }
      }
      if (dtype.isEmpty() || shape == null || offsets == null || offsets.size() != 2) {
        throw wrong(name + " needs dtype, shape and two data_offsets");
      }
      long begin = offsets.get(0);
      long end = offsets.get(1);
      requireSize(name, dtype.get(), shape, begin, end);
      return new TensorInfo(name, dtype.get(), shape, dataStart + begin, end - begin);
    }

    private DType readDType(String name) throws IOException {
      expect(parser.nextToken(), JsonToken.VALUE_STRING, name + ".dtype");
      String spelling = text("a type");
      return DType.named(spelling)
          .orElseThrow(
              () ->
                  wrong(
                      name
                          + " has the unknown dtype "
                          + spelling
                          + "; convert it to one of "
                          + List.of(DType.values())));
    }

    private List<Integer> readShape(String name) throws IOException {
      return readNumbers(name + ".shape", Integer.MAX_VALUE, MAX_DIMENSIONS).stream()
          .map(Long::intValue)
          .toList();
    }

    private List<Long> readNumbers(String what, long max, int maxCount) throws IOException {
      expect(parser.nextToken(), JsonToken.START_ARRAY, what);
      List<Long> numbers = new ArrayList<>();
      while (parser.nextToken() != JsonToken.END_ARRAY) {
        expect(parser.currentToken(), JsonToken.VALUE_NUMBER_INT, what);
        long number = parser.getLongValue();
        if (number < 0 || number > max) {
          throw wrong(what + " must be within 0.." + max + ", got " + number);
        }
        if (numbers.size() == maxCount) {
          throw wrong(what + " may hold at most " + maxCount + " numbers");
        }
        numbers.add(number);
      }
      return numbers;
    }

    private void requireSize(String name, DType dtype, List<Integer> shape, long begin, long end) {
      long bytes;
      try {
        bytes = Math.multiplyExact(Shapes.count(shape), (long) dtype.bytes());
      } catch (ArithmeticException e) {
        throw wrong(name + " has the shape " + shape + ", whose size exceeds 63 bits");
      }
      if (end - begin != bytes) {
        throw wrong(
            name
                + " "
                + dtype
                + " "
                + shape
                + " takes "
                + bytes
                + " bytes, its data_offsets ["
                + begin
                + ", "
                + end
                + "] hold "
                + (end - begin));
      }
    }

    /** The current name or string, which must be text: no half of a surrogate pair. */
    private String text(String what) throws IOException {
      String text = parser.getText();
      if (!StandardCharsets.UTF_8.newEncoder().canEncode(text)) {
        throw wrong(what + " is not valid Unicode");
      }
      return text;
    }

    private void expect(@Nullable JsonToken found, JsonToken expected, String what) {
      if (found != expected) {
        throw wrong(what + " must be " + describe(expected) + ", found " + found);
      }
    }

    private static String describe(JsonToken token) {
      return switch (token) {
        case START_OBJECT -> "an object {...}";
        case START_ARRAY -> "an array [...]";
        case VALUE_STRING -> "a string";
        case VALUE_NUMBER_INT -> "a whole number";
        default -> token.name();
      };
    }

    private FormatException wrong(String message) {
      long at = Math.max(0, parser.currentLocation().getByteOffset());
      return new FormatException(source, 8 + at, message + "; download or write the file again");
    }
  }
}
