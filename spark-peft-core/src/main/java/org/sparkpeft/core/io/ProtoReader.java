package org.sparkpeft.core.io;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.function.Supplier;
import org.sparkpeft.core.error.FormatException;

/**
 * Walks one protocol buffers message field by field, without a schema and without copying. Every
 * length is checked against the end of the message that contains it.
 *
 * <p>Wire format: a varint key holds field number times 8 plus wire type; 0 varint, 1 eight bytes,
 * 2 length and bytes, 5 four bytes. The group types 3 and 4 are refused.
 */
final class ProtoReader {
  private static final String REMEDY = "; it is damaged or not an ONNX file, download it again";

  private static final int VARINT = 0;
  private static final int FIXED64 = 1;
  private static final int BYTES = 2;
  private static final int FIXED32 = 5;
  private static final int MAX_NAME_BYTES = 1 << 16;

  private final String source;
  private final ByteBuffer bytes;
  private final int end;
  private int at;
  private int field;
  private int type;
  private int valueStart;
  private int valueEnd;
  private long varint;

  /**
   * @param bytes the whole file; only absolute positions from {@code start} to {@code end} are read
   */
  ProtoReader(String source, ByteBuffer bytes, int start, int end) {
    this.source = source;
    this.bytes = bytes.duplicate().order(ByteOrder.LITTLE_ENDIAN);
    this.at = start;
    this.end = end;
  }

  /** Moves to the next field; false at the end of the message. */
  boolean next() {
    if (at == end) {
      return false;
    }
    int keyAt = at;
    long key = readVarint();
    type = (int) (key & 7);
    if (key >>> 3 == 0 || key >>> 3 > 0x1fffffff) {
      throw new FormatException(
          source, keyAt, "field number " + (key >>> 3) + " is outside 1..536870911" + REMEDY);
    }
    field = (int) (key >>> 3);
    switch (type) {
      case VARINT -> {
        valueStart = at;
        varint = readVarint();
      }
      case FIXED64 -> skip(8);
      case FIXED32 -> skip(4);
      case BYTES -> skip(readVarint());
      default ->
          throw new FormatException(
              source, keyAt, "wire type " + type + " is not one of 0, 1, 2, 5" + REMEDY);
    }
    valueEnd = at;
    return true;
  }

  /** Number of the current field. */
  int field() {
    return field;
  }

  /** Length of the current field's bytes. */
  int valueBytes() {
    return valueEnd - valueStart;
  }

  boolean isFixed32() {
    return type == FIXED32;
  }

  boolean isBytes() {
    return type == BYTES;
  }

  /** The current field as a number. */
  long number() {
    require(VARINT, "a number");
    return varint;
  }

  /** The current field as a message inside this one. */
  ProtoReader message() {
    require(BYTES, "a message");
    return new ProtoReader(source, bytes, valueStart, valueEnd);
  }

  /** Readers of the current field's message, each from its start; usable after {@link #next}. */
  Supplier<ProtoReader> messageAgain() {
    require(BYTES, "a message");
    int start = valueStart;
    int stop = valueEnd;
    return () -> new ProtoReader(source, bytes, start, stop);
  }

  /** The current field as text. */
  String text() {
    require(BYTES, "text");
    if (valueBytes() > MAX_NAME_BYTES) {
      throw wrong("a name of " + valueBytes() + " bytes exceeds the limit of " + MAX_NAME_BYTES);
    }
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(view()).toString();
    } catch (CharacterCodingException e) {
      throw wrong("a name is not UTF-8");
    }
  }

  /** The current field as bytes. */
  ByteBuffer bytes() {
    require(BYTES, "bytes");
    return view();
  }

  /** The bytes of the current field of any type, little-endian, not copied. */
  ByteBuffer view() {
    return bytes.slice(valueStart, valueBytes()).order(ByteOrder.LITTLE_ENDIAN);
  }

  /** Numbers of a repeated field: this one, or all that are packed into it. */
  long[] numbers(int limit) {
    if (type == VARINT) {
      return new long[] {varint};
    }
    require(BYTES, "numbers");
    ProtoReader packed = new ProtoReader(source, bytes, valueStart, valueEnd);
    long[] numbers = new long[Math.min(limit, valueBytes())];
    int count = 0;
    while (packed.at < packed.end) {
      if (count == limit) {
        throw wrong("more than " + limit + " numbers in one field");
      }
      numbers[count++] = packed.readVarint();
    }
    return Arrays.copyOf(numbers, count);
  }

  FormatException wrong(String message) {
    return new FormatException(source, valueStart, message + REMEDY);
  }

  private void require(int expected, String what) {
    if (type != expected) {
      throw wrong("field " + field + " must be " + what + ", found wire type " + type);
    }
  }

  private void skip(long length) {
    if (length < 0 || length > end - at) {
      throw new FormatException(
          source,
          at,
          "a field of "
              + Long.toUnsignedString(length)
              + " bytes exceeds the "
              + (end - at)
              + " left in its message"
              + REMEDY);
    }
    valueStart = at;
    at += (int) length;
  }

  private long readVarint() {
    int start = at;
    long value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (at == end) {
        break;
      }
      byte piece = bytes.get(at++);
      if (shift == 63 && piece > 1) {
        break;
      }
      value |= (long) (piece & 0x7f) << shift;
      if (piece >= 0) {
        return value;
      }
    }
    throw new FormatException(
        source, start, "a number is cut off or longer than 10 bytes" + REMEDY);
  }
}
