package org.sparkpeft.merge.compress;

import java.util.Arrays;
import java.util.zip.CRC32C;

/** A growing buffer of bytes, little-endian, that also packs bits LSB-first. */
final class ByteSink implements BitSink {
  private byte[] bytes;
  private int size;
  private long pending;
  private int pendingBits;

  ByteSink(int expectedBytes) {
    bytes = new byte[Math.max(16, expectedBytes)];
  }

  int size() {
    return size;
  }

  void u8(int value) {
    if (size == bytes.length) {
      bytes = Arrays.copyOf(bytes, bytes.length + (bytes.length >> 1));
    }
    bytes[size++] = (byte) value;
  }

  void u32(int value) {
    for (int shift = 0; shift < 32; shift += 8) {
      u8(value >>> shift);
    }
  }

  void u64(long value) {
    u32((int) value);
    u32((int) (value >>> 32));
  }

  void f32(float value) {
    u32(Float.floatToRawIntBits(value));
  }

  /** LEB128, unsigned. */
  void varint(long value) {
    long left = value;
    while ((left & ~0x7fL) != 0) {
      u8((int) (left & 0x7f) | 0x80);
      left >>>= 7;
    }
    u8((int) left);
  }

  /** Bytes of a non-negative number in LEB128. */
  static int varintBytes(int value) {
    return (38 - Integer.numberOfLeadingZeros(value | 1)) / 7;
  }

  void raw(byte[] source) {
    raw(source, source.length);
  }

  void raw(byte[] source, int length) {
    if (length > bytes.length - size) {
      bytes = Arrays.copyOf(bytes, Math.max(size + length, bytes.length + (bytes.length >> 1)));
    }
    System.arraycopy(source, 0, bytes, size, length);
    size += length;
  }

  @Override
  public void bits(long value, int count) {
    pending |= (value & ((1L << count) - 1)) << pendingBits;
    pendingBits += count;
    while (pendingBits >= 8) {
      u8((int) pending);
      pending >>>= 8;
      pendingBits -= 8;
    }
  }

  @Override
  public void singles(long value, int count) {
    bits(value, count);
  }

  /** {@code ones} one-bits and a zero. */
  void unary(int ones) {
    int left = ones;
    for (; left >= 32; left -= 32) {
      bits(0xffffffffL, 32);
    }
    bits((1L << left) - 1, left + 1);
  }

  /** Fills the last byte of a run of bits with zeros. */
  void align() {
    if (pendingBits > 0) {
      u8((int) pending);
      pending = 0;
      pendingBits = 0;
    }
  }

  /** CRC32C of everything so far. */
  int crc() {
    CRC32C crc = new CRC32C();
    crc.update(bytes, 0, size);
    return (int) crc.getValue();
  }

  byte[] toArray() {
    return Arrays.copyOf(bytes, size);
  }
}
