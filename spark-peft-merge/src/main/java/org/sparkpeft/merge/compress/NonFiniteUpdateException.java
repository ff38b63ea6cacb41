package org.sparkpeft.merge.compress;

/**
 * An update holds NaN or an infinity. Such an update is refused as a whole: training has diverged,
 * and no part of it can be trusted.
 */
public final class NonFiniteUpdateException extends RuntimeException {
  private static final long serialVersionUID = 1L;
  private final int index;

  /**
   * @param index position in the flat vector
   * @param value what was found there
   */
  public NonFiniteUpdateException(int index, float value) {
    super(
        "entry "
            + index
            + " of the update is "
            + value
            + "; every entry must be finite. Training diverged: lower the learning rate or clip"
            + " gradients");
    this.index = index;
  }

  /** Position of the first offending entry in the flat vector. */
  public int index() {
    return index;
  }

  static void requireFinite(float[] values) {
    for (int i = 0; i < values.length; i++) {
      if (!Float.isFinite(values[i])) {
        throw new NonFiniteUpdateException(i, values[i]);
      }
    }
  }
}
