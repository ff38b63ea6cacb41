package org.sparkpeft.core.io;

import java.util.Arrays;
import java.util.Optional;

/**
 * Element types of stored tensors, spelled as in a safetensors header and in the order in which a
 * file holds them: widest first, so that every tensor is aligned, and otherwise as the reference
 * implementation sorts them.
 */
public enum DType {
  I64(8, false),
  F64(8, true),
  F32(4, true),
  I32(4, false),
  BF16(2, true),
  F16(2, true),
  I16(2, false),
  I8(1, false),
  U8(1, false),
  BOOL(1, false);

  private final int bytes;
  private final boolean floating;

  DType(int bytes, boolean floating) {
    this.bytes = bytes;
    this.floating = floating;
  }

  /** Bytes of one element. */
  public int bytes() {
    return bytes;
  }

  /** Whether elements are floating point numbers; otherwise they are integers or booleans. */
  public boolean isFloating() {
    return floating;
  }

  /** The type with this spelling, or empty if there is none. */
  static Optional<DType> named(String name) {
    return Arrays.stream(values()).filter(type -> type.name().equals(name)).findFirst();
  }
}
