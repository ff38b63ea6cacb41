package org.sparkpeft.merge.compress;

import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.error.FormatException;

/**
 * Several ternary vectors as the bytes of a file: "SPT1", u8 version = 1, u8 flags = 2 (a checksum
 * follows), varint number of sections, the sections (see {@link TernarySection}), and a
 * little-endian CRC32C of everything before it.
 */
public final class TernaryFile {
  private static final String SOURCE = "ternary file";
  private static final int MAGIC = 'S' | 'P' << 8 | 'T' << 16 | '1' << 24;
  private static final int VERSION = 1;
  private static final int CHECKSUM = 2;

  private TernaryFile() {}

  public static byte[] encode(List<TernarySection> sections) {
    ByteSink sink = new ByteSink(256);
    sink.u32(MAGIC);
    sink.u8(VERSION);
    sink.u8(CHECKSUM);
    sink.varint(sections.size());
    sections.forEach(section -> sink.raw(section.encode()));
    return PayloadFrame.seal(sink);
  }

  /**
   * Decodes a file.
   *
   * @param maxEntries most entries of all sections together
   * @throws FormatException if the bytes are not such a file
   */
  public static List<TernarySection> decode(byte[] bytes, int maxEntries) {
    ByteSource source = PayloadFrame.open(SOURCE, bytes);
    int magic = source.u32();
    int version = source.u8();
    int flags = source.u8();
    if (magic != MAGIC || version != VERSION || flags != CHECKSUM) {
      throw source.malformed(
          String.format(
              "expected SPT1 version 1 with checksum, found magic %08x, version %d, flags %d",
              magic, version, flags));
    }
    int count = source.varint("number of sections", source.remaining());
    List<TernarySection> sections = new ArrayList<>();
    int left = maxEntries;
    for (int i = 0; i < count; i++) {
      TernarySection section = TernarySection.read(source, left);
      left -= section.size();
      sections.add(section);
    }
    source.requireEnd();
    return sections;
  }
}
