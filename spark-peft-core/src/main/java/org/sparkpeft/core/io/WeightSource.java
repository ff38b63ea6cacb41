package org.sparkpeft.core.io;

import java.util.List;
import java.util.Set;

/**
 * Named tensors that can be read one at a time, so that a model larger than the heap can be loaded
 * tensor by tensor. Safe for use by several threads until closed.
 */
public interface WeightSource extends AutoCloseable {

  /** Names in UTF-8 order. */
  Set<String> names();

  default boolean contains(String name) {
    return names().contains(name);
  }

  /**
   * Dimensions of a tensor.
   *
   * @throws org.sparkpeft.core.error.DataException if there is no such tensor
   */
  List<Integer> shape(String name);

  /**
   * A fresh array of a floating tensor's values, row-major; F16 and BF16 are widened exactly.
   *
   * @throws org.sparkpeft.core.error.DataException if there is no such tensor, it holds integers,
   *     or it has more values than an array can
   */
  float[] floats(String name);

  /**
   * A tensor as stored, without copying where the source is a mapped file.
   *
   * @throws org.sparkpeft.core.error.DataException if there is no such tensor or it exceeds 2 GiB
   */
  default TensorData tensor(String name) {
    return TensorData.ofFloats(name, shape(name), floats(name));
  }

  @Override
  void close();
}
