package org.sparkpeft.merge.compress;

import org.sparkpeft.core.error.FormatException;

/**
 * The other half of {@link RangeEncoder}. Any bytes decode to something; bytes that end too early
 * or are left over are refused.
 */
final class RangeDecoder implements BitSource {
  private final String name;
  private final byte[] bytes;
  private final int end;
  private int at;
  private long code;
  private long range = RangeEncoder.TOP;

  RangeDecoder(String name, byte[] bytes, int from, int end) {
    this.name = name;
    this.bytes = bytes;
    this.at = from;
    this.end = end;
    for (int i = 0; i < 6; i++) {
      code = (code << 8) | next();
    }
  }

  FormatException malformed(String message) {
    return new FormatException(name, at, message);
  }

  boolean decode(int zeros, int total) {
    long bound = range / total * zeros;
    boolean one = code >= bound;
    if (one) {
      code -= bound;
      range -= bound;
    } else {
      range = bound;
    }
    normalise();
    return one;
  }

  @Override
  public long bits(int count) {
    long value = 0;
    for (int done = 0; done < count; done += 16) {
      int width = Math.min(16, count - done);
      range >>>= width;
      // What the division above cut off belongs to no symbol; no encoder gets there.
      long part = Math.min(code / range, (1L << width) - 1);
      code -= part * range;
      if (code >= range) {
        throw new FormatException(name, at, "no value has this code; the bytes are damaged");
      }
      value |= part << done;
      normalise();
    }
    return value;
  }

  @Override
  public int symbol(SymbolModel model) {
    return model.decode(this);
  }

  /** Refuses bytes that nothing has asked for. */
  void finish() {
    if (at < end) {
      throw new FormatException(name, at, (end - at) + " bytes are left over");
    }
  }

  private void normalise() {
    while (range < RangeEncoder.BOTTOM) {
      code = (code << 8) | next();
      range <<= 8;
    }
  }

  private int next() {
    // The encoder leaves out what zeros can stand for: never more than the 6 bytes of look-ahead.
    if (at >= end + 6) {
      throw new FormatException(name, end, "the coded bits end too early; they were cut short");
    }
    int value = at < end ? bytes[at] & 0xff : 0;
    at++;
    return value;
  }
}
