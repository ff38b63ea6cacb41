package org.sparkpeft.merge.method;

/**
 * The order in which a merge takes its vectors, whatever order they were given in: by their first
 * entries that differ, negative zero before zero, then by weight. Equal ones are interchangeable.
 */
public final class VectorOrder {
  private VectorOrder() {}

  /** Compares two runs of {@code n} entries; 0 if they have the same bits. */
  public static int compare(float[] a, float[] b, int n) {
    int at = java.util.Arrays.mismatch(a, 0, n, b, 0, n);
    return at < 0 ? 0 : Float.compare(a[at], b[at]);
  }

  /** Compares what vectors of equal values may differ in. */
  public static int compare(Share a, Share b) {
    int byWeight = Double.compare(a.weight(), b.weight());
    int byDensity = Double.compare(a.density(), b.density());
    int byGamma = Double.compare(a.gamma(), b.gamma());
    return byWeight != 0
        ? byWeight
        : byDensity != 0
            ? byDensity
            : byGamma != 0 ? byGamma : Double.compare(a.epsilon(), b.epsilon());
  }
}
