package org.sparkpeft.merge.compress;

import java.util.Arrays;

/**
 * What a sparsifier keeps of a flat vector: ascending positions and the value at each. Arrays are
 * owned by the instance and never changed.
 */
public final class Sparse {
  private final int[] positions;
  private final float[] values;

  private Sparse(int[] positions, float[] values) {
    if (positions.length != values.length) {
      throw new IllegalArgumentException(
          positions.length + " positions but " + values.length + " values");
    }
    this.positions = positions;
    this.values = values;
  }

  /** The entries of {@code dense} at ascending {@code positions}, which are taken over. */
  static Sparse gather(float[] dense, int[] positions) {
    float[] values = new float[positions.length];
    for (int i = 0; i < positions.length; i++) {
      values[i] = dense[positions[i]];
    }
    return new Sparse(positions, values);
  }

  /** Takes over both arrays. */
  static Sparse of(int[] positions, float[] values) {
    return new Sparse(positions, values);
  }

  /** Number of kept entries. */
  public int count() {
    return positions.length;
  }

  /** Position of the i-th kept entry. */
  public int position(int i) {
    return positions[i];
  }

  /** Value of the i-th kept entry. */
  public float value(int i) {
    return values[i];
  }

  /** The dense vector: kept values in their places, zero elsewhere. */
  public float[] toDense(int size) {
    float[] dense = new float[size];
    for (int i = 0; i < positions.length; i++) {
      dense[positions[i]] = values[i];
    }
    return dense;
  }

  /** Index of the first kept entry at or after {@code position}. */
  int firstAtOrAfter(int position) {
    int found = Arrays.binarySearch(positions, position);
    return found >= 0 ? found : -found - 1;
  }

  int[] positions() {
    return positions;
  }

  float[] values() {
    return values;
  }
}
