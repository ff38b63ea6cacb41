package org.sparkpeft.merge.compress;

import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.zip.CRC32C;
import org.sparkpeft.core.error.FormatException;

/**
 * Reads what a {@link ByteSink} wrote from bytes that may be anything: every read is checked
 * against the end, and whatever is wrong is a {@link FormatException} with its offset.
 */
final class ByteSource implements BitSource {
  private final String name;
  private final byte[] bytes;
  private final int end;
  private int at;
  private long window;
  private int windowBits;

  /**
   * @param name what the bytes are, for messages
   */
  ByteSource(String name, byte[] bytes, int from, int end) {
    this.name = name;
    this.bytes = bytes;
    this.at = from;
    this.end = end;
  }

  int position() {
    return at;
  }

  int remaining() {
    return end - at;
  }

  FormatException malformed(String message) {
    return new FormatException(name, at, message);
  }

  private void need(int count) {
    if (end - at < count) {
      throw malformed(
          "needs " + count + " more bytes, only " + (end - at) + " are left; it was cut short");
    }
  }

  int u8() {
    need(1);
    return bytes[at++] & 0xff;
  }

  int u32() {
    need(4);
    int value = 0;
    for (int shift = 0; shift < 32; shift += 8) {
      value |= (bytes[at++] & 0xff) << shift;
    }
    return value;
  }

  long u64() {
    long low = u32() & 0xffffffffL;
    return low | ((long) u32() << 32);
  }

  /** A float that must be finite. */
  float f32(String what) {
    return finite(Float.intBitsToFloat(u32()), what);
  }

  float finite(float value, String what) {
    if (!Float.isFinite(value)) {
      throw malformed(what + " must be finite, got " + value);
    }
    return value;
  }

  /** A number 0..max in LEB128. */
  int varint(String what, int max) {
    long value = 0;
    for (int shift = 0; shift <= 28; shift += 7) {
      int next = u8();
      value |= (long) (next & 0x7f) << shift;
      if ((next & 0x80) == 0) {
        if (value > max) {
          throw malformed(what + " must be 0.." + max + ", got " + value);
        }
        return (int) value;
      }
    }
    throw malformed(what + " is longer than a 32-bit number");
  }

  byte[] raw(int length) {
    need(length);
    byte[] copy = Arrays.copyOfRange(bytes, at, at + length);
    at += length;
    return copy;
  }

  /** The next {@code length} bytes as a source of their own; this one moves past them. */
  ByteSource part(int length) {
    need(length);
    ByteSource part = new ByteSource(name, bytes, at, at + length);
    at += length;
    return part;
  }

  void requireEnd() {
    if (at < end) {
      throw malformed((end - at) + " bytes are left over");
    }
  }

  String utf8(int length) {
    byte[] encoded = raw(length);
    try {
      return StandardCharsets.UTF_8
          .newDecoder()
          .onMalformedInput(CodingErrorAction.REPORT)
          .onUnmappableCharacter(CodingErrorAction.REPORT)
          .decode(ByteBuffer.wrap(encoded))
          .toString();
    } catch (CharacterCodingException e) {
      throw new FormatException(name, "text is not valid UTF-8", e);
    }
  }

  @Override
  public long bits(int count) {
    while (windowBits < count) {
      window |= (long) u8() << windowBits;
      windowBits += 8;
    }
    long value = window & ((1L << count) - 1);
    window >>>= count;
    windowBits -= count;
    return value;
  }

  @Override
  public long singles(int count) {
    return bits(count);
  }

  /** The number of one-bits before the next zero, which is consumed; at most {@code max}. */
  int unary(int max) {
    int ones = 0;
    while (true) {
      if (windowBits == 0) {
        window = u8();
        windowBits = 8;
      }
      int run = Long.numberOfTrailingZeros(~window);
      if (run < windowBits) {
        window >>>= run + 1;
        windowBits -= run + 1;
        ones += run;
        if (ones > max) {
          throw malformed("a run of " + ones + " ones, at most " + max + " fit the tensor");
        }
        return ones;
      }
      ones += windowBits;
      window = 0;
      windowBits = 0;
      if (ones > max) {
        throw malformed("a run of more than " + max + " ones does not fit the tensor");
      }
    }
  }

  /** Ends a run of bits; what is left of its last byte must be zero. */
  void align() {
    if (window != 0) {
      throw malformed("padding bits must be zero");
    }
    windowBits = 0;
  }

  /** CRC32C of {@code bytes[from..to)}. */
  static int crc(byte[] bytes, int from, int to) {
    CRC32C crc = new CRC32C();
    crc.update(bytes, from, to - from);
    return (int) crc.getValue();
  }
}
