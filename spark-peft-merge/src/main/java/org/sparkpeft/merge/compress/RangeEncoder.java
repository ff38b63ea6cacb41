package org.sparkpeft.merge.compress;

import java.util.Arrays;

/**
 * A binary range coder with a 48-bit interval, in integer arithmetic only. After each bit the
 * interval is at least 2^40 wide, so a probability with a denominator below 2^24 loses at most
 * 2^-16 of its precision.
 */
final class RangeEncoder implements BitSink {
  static final long TOP = 1L << 48;
  static final long BOTTOM = 1L << 40;

  private byte[] bytes;
  private int size;
  private long low;
  private long range = TOP;

  RangeEncoder(int expectedBytes) {
    bytes = new byte[Math.max(16, expectedBytes)];
  }

  /**
   * Codes one bit whose probability of being zero is {@code zeros / total}.
   *
   * @param zeros in 1..total-1
   * @param total below 2^24
   */
  void encode(boolean one, int zeros, int total) {
    long bound = range / total * zeros;
    if (one) {
      add(bound);
      range -= bound;
    } else {
      range = bound;
    }
    normalise();
  }

  @Override
  public void bits(long value, int count) {
    for (int done = 0; done < count; done += 16) {
      int width = Math.min(16, count - done);
      range >>>= width;
      add(range * ((value >>> done) & ((1L << width) - 1)));
      normalise();
    }
  }

  @Override
  public void symbol(SymbolModel model, int symbol) {
    model.encode(this, symbol);
  }

  /** The shortest bytes that decode to everything encoded, whatever zeros follow them. */
  byte[] finish() {
    for (int count = 0; count <= 6; count++) {
      long unit = TOP >>> (8 * count);
      long value = (low + unit - 1) / unit * unit;
      if (value < low + range) {
        add(value - low);
        for (int i = 0; i < count; i++) {
          shift();
        }
        break;
      }
    }
    return Arrays.copyOf(bytes, size);
  }

  private void add(long amount) {
    low += amount;
    if (low >= TOP) {
      low -= TOP;
      // The whole is below 1, so the carry always finds a byte that is not 255.
      int i = size - 1;
      while (++bytes[i] == 0) {
        i--;
      }
    }
  }

  private void normalise() {
    while (range < BOTTOM) {
      shift();
      range <<= 8;
    }
  }

  private void shift() {
    if (size == bytes.length) {
      bytes = Arrays.copyOf(bytes, bytes.length + (bytes.length >> 1));
    }
    bytes[size++] = (byte) (low >>> 40);
    low = (low << 8) & (TOP - 1);
  }
}
