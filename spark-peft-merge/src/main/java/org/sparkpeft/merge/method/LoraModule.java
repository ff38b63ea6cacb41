package org.sparkpeft.merge.method;

/**
 * One layer's LoRA: delta W [out, in] = scaling * B [out, r] A [r, in]. Immutable; arrays are
 * copied in and out.
 */
public final class LoraModule {
  private final Matrix a;
  private final Matrix b;
  private final double scaling;

  LoraModule(Matrix a, Matrix b, double scaling) {
    this.a = a;
    this.b = b;
    this.scaling = scaling;
  }

  /**
   * A module from row-major factors.
   *
   * @param a r x in
   * @param b out x r
   * @param scaling alpha / r, or alpha / sqrt(r) for rsLoRA
   */
  public static LoraModule of(int out, int r, int in, float[] a, float[] b, double scaling) {
    if (r < 1 || a.length != (long) r * in || b.length != (long) out * r) {
      throw new IllegalArgumentException(
          "A must have r x in and B out x r values; with out, r, in of "
              + out
              + ", "
              + r
              + ", "
              + in
              + " they have "
              + a.length
              + " and "
              + b.length);
    }
    if (!Double.isFinite(scaling)) {
      throw new IllegalArgumentException("scaling must be finite, got " + scaling);
    }
    return new LoraModule(Matrix.of(r, in, a), Matrix.of(out, r, b), scaling);
  }

  public int rank() {
    return a.rows();
  }

  public int in() {
    return a.columns();
  }

  public int out() {
    return b.rows();
  }

  public double scaling() {
    return scaling;
  }

  /** A [r, in], row-major. */
  public float[] a() {
    return a.toFloats();
  }

  /** B [out, r], row-major. */
  public float[] b() {
    return b.toFloats();
  }

  /** A module of scaling 1 whose delta W is {@code factor} times this one's; B takes it all. */
  public LoraModule folded(double factor) {
    double[] factors = new double[rank()];
    java.util.Arrays.fill(factors, factor * scaling);
    return factor == 1 && scaling == 1 ? this : new LoraModule(a, b.scaleColumns(factors), 1);
  }

  Matrix matrixA() {
    return a;
  }

  Matrix matrixB() {
    return b;
  }

  /** scaling * B A [out, in], row-major. Takes out * in values: for small layers and for tests. */
  public float[] deltaWeight() {
    double[] factors = new double[rank()];
    java.util.Arrays.fill(factors, scaling);
    return b.scaleColumns(factors).times(a).toFloats();
  }
}
