package org.sparkpeft.core.io;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.LongBuffer;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.vector.FiniteCheck;

/** Turns floats into the bytes of a stored type, in a buffer that is used again. For one thread. */
public final class FloatWriter {
  private final DType type;
  private final ByteBuffer bytes;
  private final short[] shorts;
  private final FiniteCheck check;
  private final int[] bits;
  private final long[] packed;
  private final long[] wide;
  private final FloatBuffer bridgeFloats;
  private final IntBuffer bridgeInts;
  private final LongBuffer bridgeLongs;

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
    this.shorts = new short[type == DType.F16 ? capacity : 0];
    this.check = new FiniteCheck(capacity);
    boolean halves = type == DType.BF16;
    this.bits = new int[halves ? capacity : 0];
    this.packed = new long[bits.length / 4];
    this.wide = new long[2 * packed.length];
    ByteBuffer bridge =
        ByteBuffer.allocateDirect(Float.BYTES * bits.length).order(ByteOrder.LITTLE_ENDIAN);
    this.bridgeFloats = bridge.asFloatBuffer();
    this.bridgeInts = bridge.asIntBuffer();
    this.bridgeLongs = bridge.asLongBuffer();
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
      case BF16 -> narrow(values, n);
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
   * BF16 is the upper half of F32. Rounding is vector code on the bits, which two copies within the
   * cache give sooner than a conversion of each value; then two longs of two floats each become one
   * of four.
   */
  private void narrow(float[] values, int n) {
    int quads = n / 4;
    bridgeFloats.put(0, values, 0, n);
    bridgeInts.get(0, bits, 0, n);
    round(bits, n);
    bridgeInts.put(0, bits, 0, n);
    bridgeLongs.get(0, wide, 0, 2 * quads);
    pack(wide, packed, quads);
    bytes.asLongBuffer().put(packed, 0, quads);
    for (int i = 4 * quads; i < n; i++) {
      bytes.putShort(2 * i, (short) (bits[i] >>> 16));
    }
  }

  /** Rounds the upper halves as in {@link BFloat16}, without its care for NaN: there is none. */
  private static void round(int[] bits, int n) {
    for (int i = 0; i < n; i++) {
      int value = bits[i];
      bits[i] = value + 0x7fff + ((value >>> 16) & 1);
    }
  }

  private static void pack(long[] wide, long[] packed, int quads) {
    for (int i = 0; i < quads; i++) {
      long low = wide[2 * i];
      long high = wide[2 * i + 1];
      packed[i] =
          (low >>> 16 & 0xffffL)
              | (low >>> 48) << 16
              | (high >>> 16 & 0xffffL) << 32
              | (high >>> 48) << 48;
    }
  }

  private void requireRange(float[] values, int n, String name) {
    // Scaled, values near the limit become infinite.
    if (check.allFinite(values, n, stretch)) {
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
