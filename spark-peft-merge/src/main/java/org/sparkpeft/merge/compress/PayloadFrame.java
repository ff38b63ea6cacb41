package org.sparkpeft.merge.compress;

import java.nio.charset.StandardCharsets;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * The outer bytes of a payload: header before the body, checksum after it.
 *
 * @param codecId {@link ValueFormat#id()}
 * @param flags the FLAG bits
 * @param header round, client and layout
 */
record PayloadFrame(int codecId, int flags, PayloadHeader header) {
  static final int MAGIC = 'S' | 'P' << 8 | 'T' << 16 | 'U' << 24;
  static final int OLDEST_VERSION = 1;

  /** Version 2 has {@link #FLAG_MASKS} besides. */
  static final int VERSION = 2;

  /** Positions are sent; otherwise every entry of every tensor is. */
  static final int FLAG_SPARSE = 1;

  /** The body is one range-coded stream; otherwise byte-aligned sections. */
  static final int FLAG_STREAM = 2;

  /** One scale before the body serves all tensors. */
  static final int FLAG_SHARED_SCALE = 4;

  /** Which entries are kept follows from layout and round; see {@link RandomK}. */
  static final int FLAG_SEEDED = 8;

  /** The sparse body has the masks of all tensors by one rANS; needs version 2. */
  static final int FLAG_MASKS = 16;

  private static final int OLDEST_FLAGS = 15;
  private static final int ALL_FLAGS = 31;
  private static final int CRC_BYTES = 4;

  boolean has(int flag) {
    return (flags & flag) != 0;
  }

  void write(ByteSink sink, int version) {
    sink.u32(MAGIC);
    sink.u8(version);
    sink.u8(codecId);
    sink.u8(flags);
    sink.u64(header.layoutFingerprint());
    sink.varint(header.round());
    byte[] client = header.clientId().getBytes(StandardCharsets.UTF_8);
    sink.u8(client.length);
    sink.raw(client);
  }

  static byte[] seal(ByteSink sink) {
    sink.u32(sink.crc());
    return sink.toArray();
  }

  /** Checks the checksum and gives the bytes before it. */
  static ByteSource open(String name, byte[] payload) {
    if (payload.length < CRC_BYTES) {
      throw new FormatException(name, 0, "has only " + payload.length + " bytes; it was cut short");
    }
    int end = payload.length - CRC_BYTES;
    int stated = new ByteSource(name, payload, end, payload.length).u32();
    int actual = ByteSource.crc(payload, 0, end);
    if (stated != actual) {
      throw new FormatException(
          name,
          end,
          String.format(
              "CRC32C is %08x, the bytes before it give %08x; they are damaged, send them again",
              stated, actual));
    }
    return new ByteSource(name, payload, 0, end);
  }

  static PayloadFrame read(ByteSource source) {
    int magic = source.u32();
    if (magic != MAGIC) {
      throw source.malformed(
          String.format("starts with %08x, not with %08x: not a payload", magic, MAGIC));
    }
    int version = source.u8();
    if (version < OLDEST_VERSION || version > VERSION) {
      throw source.malformed(
          "has format version "
              + version
              + ", this program reads "
              + OLDEST_VERSION
              + " to "
              + VERSION
              + "; use the same release on all nodes");
    }
    int codecId = source.u8();
    int flags = source.u8();
    if ((flags & ~(version == OLDEST_VERSION ? OLDEST_FLAGS : ALL_FLAGS)) != 0) {
      throw source.malformed("has flags " + flags + ", unknown in version " + version);
    }
    long fingerprint = source.u64();
    int round = source.varint("round", Integer.MAX_VALUE);
    String clientId = source.utf8(source.u8());
    return new PayloadFrame(codecId, flags, new PayloadHeader(round, clientId, fingerprint));
  }

  /** Refuses a payload for another layout. */
  void requireLayout(ParameterLayout layout) {
    if (header.layoutFingerprint() != layout.fingerprint()) {
      throw new FormatException(
          "payload",
          String.format(
              "is for layout %016x, expected %016x (%d entries); sender and receiver must use the"
                  + " same model and method",
              header.layoutFingerprint(), layout.fingerprint(), layout.size()));
    }
  }
}
