package org.sparkpeft.merge.method;

import java.util.List;
import org.sparkpeft.core.error.DataException;

/**
 * {@link RegMean} of a linear layer of any height: each row w of the result solves w L = sum(w_t
 * G_t), L = sum(G_t) with a ridge, by the Cholesky factor of L. The Gram matrices [in, in] are the
 * vectors' evidence.
 *
 * @param offDiagonal factor on off-diagonal entries, in [0, 1]
 */
public record RegMeanLayer(double offDiagonal) implements BlockwiseMethod {
  private static final double RIDGE = 1e-6;

  public RegMeanLayer {
    if (!(offDiagonal >= 0 && offDiagonal <= 1)) {
      throw new IllegalArgumentException("alpha must be in [0, 1], got " + offDiagonal);
    }
  }

  @Override
  public Share share(double weight) {
    return Share.of(weight);
  }

  /** A matrix of doubles for each vector, and the factor. */
  @Override
  public long workingBytes(int columns, int vectors) {
    return 8L * columns * columns * (vectors + 1);
  }

  @Override
  public TensorPlan plan(TensorScan tensor, List<Share> shares, List<KeepRule> trims) {
    return new Plan(offDiagonal);
  }

  private record Plan(double offDiagonal) implements TensorPlan {
    @Override
    public boolean wholeRows() {
      return true;
    }

    @Override
    public boolean wholeTensor() {
      return true;
    }

    @Override
    public TensorPlan open(TensorScan tensor) {
      int in = tensor.columns();
      double[][] grams = new double[tensor.vectors()][];
      double[] sum = new double[Math.multiplyExact(in, in)];
      for (int t = 0; t < grams.length; t++) {
        grams[t] = gram(tensor, t, in);
        addTimes(1, grams[t], 0, sum, 0, sum.length);
      }
      double trace = 0;
      for (int i = 0; i < in; i++) {
        trace += sum[i * in + i];
      }
      for (int i = 0; i < in; i++) {
        sum[i * in + i] += RIDGE * trace / in;
      }
      factorise(sum, in, tensor.name());
      return new Solver(in, grams, sum);
    }

    private double[] gram(TensorScan tensor, int t, int in) {
      double[] gram = new double[in * in];
      int[] rows = {0};
      tensor.forEachEvidence(
          t,
          in,
          row -> {
            int i = rows[0]++;
            for (int j = 0; j < in; j++) {
              requireFinite(row[j], tensor.name());
              gram[i * in + j] = i == j ? row[j] : offDiagonal * row[j];
            }
          });
      return gram;
    }

    private static void requireFinite(float value, String name) {
      if (!Float.isFinite(value)) {
        throw new DataException("a Gram matrix of " + name + " contains " + value);
      }
    }

    @Override
    public void merge(Block block, float[] out) {
      throw new IllegalStateException("the plan was not opened");
    }
  }

  /** Replaces a symmetric matrix by its Cholesky factor, below and, transposed, above. */
  private static void factorise(double[] a, int n, String name) {
    for (int i = 0; i < n; i++) {
      for (int j = 0; j <= i; j++) {
        double sum = a[i * n + j];
        for (int k = 0; k < j; k++) {
          sum -= a[i * n + k] * a[j * n + k];
        }
        if (i == j && !(sum > 0)) {
          throw new DataException(
              "the Gram matrices of "
                  + name
                  + " are not positive definite (row "
                  + i
                  + "); they must be X^T X of the layer's inputs");
        }
        a[i * n + j] = i == j ? Math.sqrt(sum) : sum / a[j * n + j];
      }
    }
    for (int i = 0; i < n; i++) {
      for (int j = 0; j < i; j++) {
        a[j * n + i] = a[i * n + j];
      }
    }
  }

  private static void addTimes(
      double factor, double[] from, int start, double[] to, int at, int n) {
    for (int i = 0; i < n; i++) {
      to[at + i] += factor * from[start + i];
    }
  }

  /** An opened plan; stays where it was made. */
  private static final class Solver implements TensorPlan {
    private static final long serialVersionUID = 1L;
    private final int in;
    private final transient double[][] grams;
    private final transient double[] factor;

    Solver(int in, double[][] grams, double[] factor) {
      this.in = in;
      this.grams = grams;
      this.factor = factor;
    }

    @Override
    public boolean wholeRows() {
      return true;
    }

    @Override
    public void merge(Block block, float[] out) {
      int rows = block.length() / in;
      double[] right = new double[rows * in];
      for (int t = 0; t < grams.length; t++) {
        for (int j = 0; j < in; j++) {
          for (int row = 0; row < rows; row++) {
            double value = block.values(t)[row * in + j];
            addTimes(value, grams[t], j * in, right, row * in, in);
          }
        }
      }
      for (int row = 0; row < rows; row++) {
        solve(right, row * in);
      }
      for (int i = 0; i < right.length; i++) {
        out[i] = (float) right[i];
      }
    }

    /** Both triangles, row by row of the factor as it is stored. */
    private void solve(double[] x, int at) {
      for (int i = 0; i < in; i++) {
        x[at + i] /= factor[i * in + i];
        addTimes(-x[at + i], factor, i * in + i + 1, x, at + i + 1, in - i - 1);
      }
      for (int i = in - 1; i >= 0; i--) {
        x[at + i] /= factor[i * in + i];
        addTimes(-x[at + i], factor, i * in, x, at, i);
      }
    }
  }
}
