package org.sparkpeft.core.io;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.vector.FiniteCheck;

/** Turns floats into the bytes of a stored type, in a buffer that is used again. For one thread. */
public final class FloatWriter {
  private final DType type;
  private final ByteBuffer bytes;
  private final short[] shorts;
  private final float[] scratch;

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
