package org.sparkpeft.merge.method;

import org.hipparchus.linear.Array2DRowRealMatrix;
import org.hipparchus.linear.EigenDecompositionSymmetric;

/** A dense delta W as the product of two factors, see {@link LoraMerge#factorise}. */
final class Factorisation {
  /** Singular values below this share of the largest are lost in float32 anyway. */
  private static final double NEGLIGIBLE = 1e-7;

  private Factorisation() {}

  static LoraModule of(int out, int in, float[] delta, int rank) {
    if (rank < 1 || delta.length != (long) out * in) {
      throw new IllegalArgumentException(
          "needs a rank from 1 and out x in values, got rank "
              + rank
              + ", "
              + out
              + " x "
              + in
              + " and "
              + delta.length
              + " values");
    }
    int kept = Math.min(rank, Math.min(out, in));
    boolean turned = in > out;
    double[][] vectors = largestVectors(gram(out, in, delta, turned), kept);
    float[] a = new float[kept * in];
    float[] b = new float[out * kept];
    double largest = 0;
    for (int k = 0; k < kept; k++) {
      // Of u and v one is known, of length 1; delta times it is the other, times its value.
      double[] known = vectors[k];
      double[] other =
          turned ? timesTransposed(out, in, delta, known) : times(out, in, delta, known);
      double value = Math.sqrt(dot(other, other));
      largest = Math.max(largest, value);
      if (value <= NEGLIGIBLE * largest) {
        continue;
      }
      double[] left = turned ? known : other;
      double[] right = turned ? other : known;
      double sign = signOfLargest(left);
      for (int i = 0; i < out; i++) {
        b[i * kept + k] = (float) (sign * left[i] * (turned ? value : 1));
      }
      for (int j = 0; j < in; j++) {
        a[k * in + j] = (float) (sign * right[j] / (turned ? value : 1));
      }
    }
    return LoraModule.of(out, kept, in, a, b, 1);
  }

  /** delta delta^T [out, out] if turned, else delta^T delta [in, in]. */
  private static double[][] gram(int out, int in, float[] delta, boolean turned) {
    int side = turned ? out : in;
    int depth = turned ? in : out;
    double[][] vectors = new double[side][depth];
    for (int i = 0; i < out; i++) {
      for (int j = 0; j < in; j++) {
        vectors[turned ? i : j][turned ? j : i] = delta[i * in + j];
      }
    }
    double[][] gram = new double[side][side];
    for (int p = 0; p < side; p++) {
      for (int q = 0; q <= p; q++) {
        gram[p][q] = dot(vectors[p], vectors[q]);
        gram[q][p] = gram[p][q];
      }
    }
    return gram;
  }

  /** Eigenvectors of the largest eigenvalues, the largest first. */
  private static double[][] largestVectors(double[][] gram, int count) {
    EigenDecompositionSymmetric eigen =
        new EigenDecompositionSymmetric(new Array2DRowRealMatrix(gram, false));
    double[][] vectors = new double[count][];
    for (int k = 0; k < count; k++) {
      vectors[k] = eigen.getEigenvector(k).toArray();
    }
    return vectors;
  }

  /** delta v [out]. */
  private static double[] times(int out, int in, float[] delta, double[] v) {
    double[] product = new double[out];
    for (int i = 0; i < out; i++) {
      for (int j = 0; j < in; j++) {
        product[i] += delta[i * in + j] * v[j];
      }
    }
    return product;
  }

  /** delta^T u [in]. */
  private static double[] timesTransposed(int out, int in, float[] delta, double[] u) {
    double[] product = new double[in];
    for (int i = 0; i < out; i++) {
      for (int j = 0; j < in; j++) {
        product[j] += delta[i * in + j] * u[i];
      }
    }
    return product;
  }

  private static double dot(double[] a, double[] b) {
    // Four sums at once: one alone waits for each addition.
    double s0 = 0;
    double s1 = 0;
    double s2 = 0;
    double s3 = 0;
    int i = 0;
    for (; i + 3 < a.length; i += 4) {
      s0 += a[i] * b[i];
      s1 += a[i + 1] * b[i + 1];
      s2 += a[i + 2] * b[i + 2];
      s3 += a[i + 3] * b[i + 3];
    }
    for (; i < a.length; i++) {
      s0 += a[i] * b[i];
    }
    return (s0 + s1) + (s2 + s3);
  }

  /** Of the entry of largest magnitude. */
  private static double signOfLargest(double[] values) {
    double largest = 0;
    for (double value : values) {
      largest = Math.abs(value) > Math.abs(largest) ? value : largest;
    }
    return largest < 0 ? -1 : 1;
  }
}
