package org.sparkpeft.federated.aggregate;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import org.sparkpeft.core.error.FormatException;

/**
 * One or more columns of 64-bit sums with a count and a total share: the state every accumulator
 * has.
 */
final class FixedPointSums {
  private static final int MAGIC = 0x31435053; // "SPC1", little-endian
  private static final int HEADER_BYTES = 4 + 4 + 4 + 4 + 8;

  private final long[][] columns;
  private int count;
  private long share;

  FixedPointSums(int columnCount, int size) {
    columns = new long[columnCount][size];
  }

  long[] column(int index) {
    return columns[index];
  }

  int count() {
    return count;
  }

  /** Sum of the shares of what was added. */
  double share() {
    return FixedPoint.toDouble(share);
  }

  /** {@link #share} as it is summed. */
  long fixedShare() {
    return share;
  }

  void countOne(double itsShare) {
    count++;
    share += FixedPoint.of(itsShare);
  }

  void merge(FixedPointSums other) {
    if (other.columns.length != columns.length || other.columns[0].length != columns[0].length) {
      throw new IllegalArgumentException("sums of different shape cannot be joined");
    }
    for (int c = 0; c < columns.length; c++) {
      for (int i = 0; i < columns[c].length; i++) {
        columns[c][i] += other.columns[c][i];
      }
    }
    count += other.count;
    share += other.share;
  }

  /** Size of {@link #toBytes}. */
  static long bytes(int columnCount, int size) {
    return HEADER_BYTES + 8L * columnCount * size;
  }

  byte[] toBytes() {
    int size = columns[0].length;
    ByteBuffer buffer =
        ByteBuffer.allocate(
                Math.addExact(HEADER_BYTES, Math.multiplyExact(8 * columns.length, size)))
            .order(ByteOrder.LITTLE_ENDIAN);
    buffer.putInt(MAGIC).putInt(columns.length).putInt(size).putInt(count).putLong(share);
    for (long[] column : columns) {
      buffer.asLongBuffer().put(column);
      buffer.position(buffer.position() + 8 * size);
    }
    return buffer.array();
  }

  static FixedPointSums fromBytes(byte[] bytes, int columnCount, int size) {
    long expected = bytes(columnCount, size);
    if (bytes.length != expected) {
      throw new FormatException(
          "partial sums", "expected " + expected + " bytes, got " + bytes.length);
    }
    ByteBuffer buffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
    if (buffer.getInt() != MAGIC || buffer.getInt() != columnCount || buffer.getInt() != size) {
      throw new FormatException(
          "partial sums", 0, "not partial sums of " + columnCount + " x " + size);
    }
    FixedPointSums sums = new FixedPointSums(columnCount, size);
    sums.count = buffer.getInt();
    sums.share = buffer.getLong();
    for (long[] column : sums.columns) {
      buffer.asLongBuffer().get(column);
      buffer.position(buffer.position() + 8 * size);
    }
    return sums;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof FixedPointSums that
        && count == that.count
        && share == that.share
        && Arrays.deepEquals(columns, that.columns);
  }

  @Override
  public int hashCode() {
    return Arrays.deepHashCode(columns);
  }
}
