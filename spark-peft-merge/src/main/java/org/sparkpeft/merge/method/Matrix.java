package org.sparkpeft.merge.method;

/** A small dense matrix in double, row-major; the linear algebra that low-rank merges need. */
final class Matrix {
  private final int rows;
  private final int columns;
  private final double[] values;

  Matrix(int rows, int columns) {
    this.rows = rows;
    this.columns = columns;
    this.values = new double[Math.multiplyExact(rows, columns)];
  }

  static Matrix of(int rows, int columns, float[] source) {
    Matrix matrix = new Matrix(rows, columns);
    for (int i = 0; i < source.length; i++) {
      matrix.values[i] = source[i];
    }
    return matrix;
  }

  int rows() {
    return rows;
  }

  int columns() {
    return columns;
  }

  double get(int row, int column) {
    return values[row * columns + column];
  }

  void set(int row, int column, double value) {
    values[row * columns + column] = value;
  }

  /** Copies {@code part * factor} with its upper left corner at the given place. */
  void paste(Matrix part, int row, int column, double factor) {
    for (int i = 0; i < part.rows; i++) {
      for (int j = 0; j < part.columns; j++) {
        set(row + i, column + j, factor * part.get(i, j));
      }
    }
  }

  Matrix transpose() {
    Matrix turned = new Matrix(columns, rows);
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        turned.set(j, i, get(i, j));
      }
    }
    return turned;
  }

  Matrix times(Matrix right) {
    Matrix product = new Matrix(rows, right.columns);
    for (int i = 0; i < rows; i++) {
      for (int k = 0; k < columns; k++) {
        double factor = get(i, k);
        if (factor != 0) {
          for (int j = 0; j < right.columns; j++) {
            product.values[i * right.columns + j] += factor * right.get(k, j);
          }
        }
      }
    }
    return product;
  }

  /** Columns {@code from..to}. */
  Matrix columnRange(int from, int to) {
    Matrix part = new Matrix(rows, to - from);
    for (int i = 0; i < rows; i++) {
      System.arraycopy(values, i * columns + from, part.values, i * part.columns, to - from);
    }
    return part;
  }

  /** Multiplies column j by {@code factors[j]}. */
  Matrix scaleColumns(double[] factors) {
    Matrix scaled = new Matrix(rows, columns);
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        scaled.set(i, j, get(i, j) * factors[j]);
      }
    }
    return scaled;
  }

  float[] toFloats() {
    float[] floats = new float[values.length];
    for (int i = 0; i < floats.length; i++) {
      floats[i] = (float) values[i];
    }
    return floats;
  }

  double columnDot(int a, int b) {
    double sum = 0;
    for (int i = 0; i < rows; i++) {
      sum += get(i, a) * get(i, b);
    }
    return sum;
  }
}
