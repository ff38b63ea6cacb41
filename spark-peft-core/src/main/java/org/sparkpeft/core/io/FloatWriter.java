package org.sparkpeft.core.io;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.vector.FiniteCheck;

/** Turns floats into the bytes of a stored type, in a buffer that is used again. For one thread. */
public final class FloatWriter {
  private final DType type;
  private final ByteBuffer bytes;
  private final short[] shorts;
  private final float[] scratch;
  private final FloatBuffer asFloats;
  private final IntBuffer asInts;
  private final int[] first;
  private final int[] second;

  /** Magnitude from which on values round to infinity. */
  private final float limit;

  /** Takes the limit, and what is a little below, beyond all floats. */
  private final float stretch;

  /**
   * @param type F32, F16 or BF16
   * @param capacity most values at once
   */
  public FloatWriter(DType type, int capacity) {
    if (type != DType.F32 && type != DType.F16 && type != DType.BF16) {
      throw new IllegalArgumentException("weights are written as F32, F16 or BF16, got " + type);
    }
    this.type = type;
    this.bytes = ByteBuffer.allocateDirect(type.bytes() * capacity).order(ByteOrder.LITTLE_ENDIAN);
    this.shorts = new short[type.bytes() == 2 ? capacity : 0];
    this.scratch = new float[capacity / 2 + 1];
    ByteBuffer bridge =
        ByteBuffer.allocateDirect(type == DType.BF16 ? Float.BYTES * capacity : 0)
            .order(ByteOrder.nativeOrder());
    this.asFloats = bridge.asFloatBuffer();
    this.asInts = bridge.asIntBuffer();
    this.first = new int[asInts.capacity() / 2];
    this.second = new int[first.length];
    this.limit =
        switch (type) {
          case F16 -> 65_520;
          case BF16 -> Float.intBitsToFloat(0x7f7f8000);
          default -> Float.POSITIVE_INFINITY;
        };
    this.stretch = type == DType.F32 ? 1 : (float) (1.001 * Float.MAX_VALUE / limit);
  }

  /**
   * The first {@code n} values, rounded to nearest, ties to even. The buffer is valid until the
   * next call.
   *
   * @param name of the tensor, for messages
   * @throws DataException if a value is not finite, or too large for the type
   */
  public ByteBuffer encode(float[] values, int n, String name) {
    requireRange(values, n, name);
    bytes.clear();
    switch (type) {
      case BF16 -> {
        for (int i = 0; i < n; i++) {
          // Rounding as in BFloat16, without its care for NaN: there is none here.
          int bits = Float.floatToRawIntBits(values[i]);
          shorts[i] = (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
        }
        bytes.asShortBuffer().put(shorts, 0, n);
      }
      case F16 -> {
        for (int i = 0; i < n; i++) {
          shorts[i] = Float16.fromFloat(values[i]);
        }
        bytes.asShortBuffer().put(shorts, 0, n);
      }
      default -> bytes.asFloatBuffer().put(values, 0, n);
    }
    return bytes.limit(n * type.bytes());
  }

  /**
   * The same for BF16 values in the order of {@link TensorReader#readApart}; the bytes are in the
   * tensor's order.
   *
   * @param n an even number
   */
  public ByteBuffer encodeApart(float[] values, int n, String name) {
    if (type != DType.BF16 || n % 2 != 0) {
      throw new IllegalArgumentException(n + " values of " + type + " are no pairs");
    }
    int half = n / 2;
    asFloats.put(0, values, 0, n);
    asInts.get(0, first, 0, half);
    asInts.get(half, second, 0, half);
    if (beyondLimit(first, half) + beyondLimit(second, half) > 0) {
      requireRange(values, n, name);
    }
    roundPairs(first, second, half);
    bytes.clear();
    bytes.asIntBuffer().put(first, 0, half);
    return bytes.limit(n * type.bytes());
  }

  /** How many of the floats with these bits BF16 cannot hold. */
  private static int beyondLimit(int[] bits, int n) {
    int beyond = 0;
    for (int i = 0; i < n; i++) {
      beyond += (0x7f7f7fff - (bits[i] & 0x7fffffff)) >>> 31;
    }
    return beyond;
  }

  /** Leaves in {@code first} both, rounded to nearest, ties to even. */
  private static void roundPairs(int[] first, int[] second, int n) {
    for (int i = 0; i < n; i++) {
      int low = (first[i] + 0x7fff + ((first[i] >>> 16) & 1)) >>> 16;
      int high = second[i] + 0x7fff + ((second[i] >>> 16) & 1);
      first[i] = low | (high & 0xffff0000);
    }
  }

  private void requireRange(float[] values, int n, String name) {
    // Scaled, values near the limit become infinite.
    if (FiniteCheck.allFinite(values, n, stretch, scratch)) {
      return;
    }
    for (int i = 0; i < n; i++) {
      if (!(Math.abs(values[i]) < limit)) {
        throw new DataException(
            "a value of "
                + name
                + " is "
                + values[i]
                + ", which "
                + type
                + " cannot hold; write a wider type, or lower the weights");
      }
    }
  }
}
