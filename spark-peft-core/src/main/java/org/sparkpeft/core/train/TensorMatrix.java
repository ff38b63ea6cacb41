package org.sparkpeft.core.train;

import java.util.List;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * A tensor as optimisers see it that remember rows and columns instead of entries: its first
 * dimension against all others. A tensor of one row or one column is a vector.
 *
 * @param from its first entry in the flat parameters
 */
record TensorMatrix(int from, int rows, int columns) {
  static TensorMatrix of(ParameterLayout.Entry entry) {
    List<Integer> shape = entry.shape();
    int rows = shape.isEmpty() ? 1 : shape.get(0);
    int columns = rows == 0 ? 0 : entry.size() / rows;
    return new TensorMatrix(entry.offset(), rows, columns);
  }

  int size() {
    return rows * columns;
  }

  /** Whether rows and columns are fewer than entries. */
  boolean isMatrix() {
    return rows > 1 && columns > 1;
  }

  /** What is remembered: a number for each row and column, or for each entry of a vector. */
  int state() {
    return isMatrix() ? rows + columns : size();
  }
}
