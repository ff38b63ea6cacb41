package org.sparkpeft.core.io;

import java.util.List;

/**
 * Where and what a stored tensor is.
 *
 * @param name tensor name
 * @param dtype element type
 * @param shape dimensions; empty for a scalar; row-major
 * @param offset position of its first byte in the file
 * @param bytes its length in bytes: product of the shape times the element size
 */
public record TensorInfo(String name, DType dtype, List<Integer> shape, long offset, long bytes) {
  public TensorInfo {
    shape = List.copyOf(shape);
  }

  /** Number of elements. */
  public long elements() {
    return bytes / dtype.bytes();
  }

  /** Position after its last byte. */
  long end() {
    return offset + bytes;
  }
}
