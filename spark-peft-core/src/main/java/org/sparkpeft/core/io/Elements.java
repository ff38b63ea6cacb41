package org.sparkpeft.core.io;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.ShortBuffer;

/** Conversion between little-endian bytes of each {@link DType} and Java arrays. */
final class Elements {
  /** Halfs are copied to an array in pieces of this many, so that the loops run on arrays. */
  private static final int PIECE = 4096;

  private Elements() {}

  /**
   * Widens (F64: rounds) the bytes of a floating type.
   *
   * @param source bytes from position to limit, a whole number of elements; left untouched
   */
  static void toFloats(DType type, ByteBuffer source, float[] target, int at) {
    ByteBuffer bytes = source.duplicate().order(ByteOrder.LITTLE_ENDIAN);
    switch (type) {
      case F32 -> bytes.asFloatBuffer().get(target, at, bytes.remaining() / 4);
      case F16, BF16 -> widen(type, bytes.asShortBuffer(), target, at);
      case F64 -> {
        for (int i = at; bytes.hasRemaining(); i++) {
          target[i] = (float) bytes.getDouble();
        }
      }
      case I64, I32, I16, I8, U8, BOOL ->
          throw new IllegalArgumentException(type + " is not a floating type");
    }
  }

  private static void widen(DType type, ShortBuffer source, float[] target, int at) {
    short[] piece = new short[Math.min(PIECE, source.remaining())];
    int end = at;
    while (source.hasRemaining()) {
      int count = Math.min(piece.length, source.remaining());
      source.get(piece, 0, count);
      if (type == DType.F16) {
        for (int i = 0; i < count; i++) {
          target[end + i] = Float16.toFloat(piece[i]);
        }
      } else {
        for (int i = 0; i < count; i++) {
          target[end + i] = BFloat16.toFloat(piece[i]);
        }
      }
      end += count;
    }
  }

  /** The values as little-endian bytes of a floating type, rounded to nearest, ties to even. */
  static ByteBuffer ofFloats(DType type, float[] values) {
    ByteBuffer bytes = allocate(type, values.length);
    switch (type) {
      case F32 -> {
        FloatBuffer floats = bytes.asFloatBuffer();
        floats.put(values);
      }
      case F16 -> {
        for (int i = 0; i < values.length; i++) {
          bytes.putShort(2 * i, Float16.fromFloat(values[i]));
        }
      }
      case BF16 -> {
        for (int i = 0; i < values.length; i++) {
          bytes.putShort(2 * i, BFloat16.fromFloat(values[i]));
        }
      }
      case F64 -> {
        for (int i = 0; i < values.length; i++) {
          bytes.putDouble(8 * i, values[i]);
        }
      }
      case I64, I32, I16, I8, U8, BOOL ->
          throw new IllegalArgumentException(type + " is not a floating type");
    }
    return bytes;
  }

  /** The values of an integer type (U8 unsigned, BOOL 0 or 1). */
  static long[] toLongs(DType type, ByteBuffer source) {
    ByteBuffer bytes = source.duplicate().order(ByteOrder.LITTLE_ENDIAN);
    long[] target = new long[bytes.remaining() / type.bytes()];
    for (int i = 0; i < target.length; i++) {
      target[i] =
          switch (type) {
            case I64 -> bytes.getLong();
            case I32 -> bytes.getInt();
            case I16 -> bytes.getShort();
            case I8 -> bytes.get();
            case U8 -> Byte.toUnsignedLong(bytes.get());
            case BOOL -> bytes.get() == 0 ? 0 : 1;
            case F64, F32, F16, BF16 ->
                throw new IllegalArgumentException(type + " is not an integer type");
          };
    }
    return target;
  }

  /**
   * The values as little-endian bytes of an integer type.
   *
   * @throws IllegalArgumentException if a value does not fit
   */
  static ByteBuffer ofLongs(DType type, long[] values) {
    ByteBuffer bytes = allocate(type, values.length);
    for (long value : values) {
      switch (type) {
        case I64 -> bytes.putLong(value);
        case I32 -> bytes.putInt((int) inRange(type, value, Integer.MIN_VALUE, Integer.MAX_VALUE));
        case I16 -> bytes.putShort((short) inRange(type, value, Short.MIN_VALUE, Short.MAX_VALUE));
        case I8 -> bytes.put((byte) inRange(type, value, Byte.MIN_VALUE, Byte.MAX_VALUE));
        case U8 -> bytes.put((byte) inRange(type, value, 0, 255));
        case BOOL -> bytes.put((byte) inRange(type, value, 0, 1));
        case F64, F32, F16, BF16 ->
            throw new IllegalArgumentException(type + " is not an integer type");
      }
    }
    return bytes.rewind();
  }

  private static long inRange(DType type, long value, long min, long max) {
    if (value < min || value > max) {
      throw new IllegalArgumentException(
          type + " holds " + min + ".." + max + ", got " + value + "; choose a wider type");
    }
    return value;
  }

  private static ByteBuffer allocate(DType type, int count) {
    long bytes = (long) count * type.bytes();
    if (bytes > Integer.MAX_VALUE - 8) {
      throw new IllegalArgumentException(
          "a tensor in memory holds at most "
              + (Integer.MAX_VALUE - 8)
              + " bytes, got "
              + bytes
              + "; split it or choose a narrower type than "
              + type);
    }
    return ByteBuffer.allocate((int) bytes).order(ByteOrder.LITTLE_ENDIAN);
  }
}
