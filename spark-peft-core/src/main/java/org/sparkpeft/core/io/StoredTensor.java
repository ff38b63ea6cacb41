package org.sparkpeft.core.io;

import java.io.Serializable;
import java.util.List;

/**
 * Where a tensor lies: enough for another process with the same file system to read any part of it.
 *
 * @param file absolute path, or URI, of the safetensors file
 * @param name its name there
 * @param dtype element type
 * @param shape dimensions; empty for a scalar
 * @param offset position of its first byte in the file
 * @param bytes its length in bytes
 */
public record StoredTensor(
    String file, String name, DType dtype, List<Integer> shape, long offset, long bytes)
    implements Serializable {
  public StoredTensor {
    shape = List.copyOf(shape);
  }

  /** Number of elements. */
  public long elements() {
    return bytes / dtype.bytes();
  }
}
