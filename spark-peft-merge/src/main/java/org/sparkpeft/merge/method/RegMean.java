package org.sparkpeft.merge.method;

import java.util.List;

/**
 * RegMean (Jin et al., "Dataless Knowledge Fusion by Merging Weights of Language Models", 2023):
 * the linear layer whose outputs are nearest, in the least-squares sense, to those of each model on
 * its own inputs: W^T = (sum G_t)^-1 sum(G_t W_t^T), G_t = X_t^T X_t / n_t with off-diagonal
 * entries times a factor. Other parameters are averaged. Works on delta weights as well as on
 * weights, and on B alone when A is shared, with G_t of A X.
 *
 * <p>A Gram matrix tells about the data it comes from; it must not leave a client whose data are to
 * stay private without noise.
 *
 * @param offDiagonal factor on off-diagonal entries, in [0, 1]; 0.9 is usual, 1 for none
 */
public record RegMean(double offDiagonal) {
  private static final double RIDGE = 1e-6;

  public RegMean {
    if (!(offDiagonal >= 0 && offDiagonal <= 1)) {
      throw new IllegalArgumentException("the factor must be in [0, 1], got " + offDiagonal);
    }
  }

  /**
   * Merges one layer.
   *
   * @param weights W_t [out, in] of each model, row-major
   * @param grams G_t [in, in] of each, row-major, symmetric
   * @return W [out, in], row-major
   */
  public float[] merge(int out, int in, List<float[]> weights, List<float[]> grams) {
    if (weights.isEmpty() || weights.size() != grams.size()) {
      throw new IllegalArgumentException(
          "needs a Gram matrix for each model, got " + weights.size() + " and " + grams.size());
    }
    Matrix left = new Matrix(in, in);
    Matrix right = new Matrix(in, out);
    for (int t = 0; t < weights.size(); t++) {
      if (weights.get(t).length != (long) out * in || grams.get(t).length != (long) in * in) {
        throw new IllegalArgumentException(
            "model "
                + t
                + " needs "
                + out
                + "x"
                + in
                + " weights and a "
                + in
                + "x"
                + in
                + " Gram");
      }
      Matrix gram = Matrix.of(in, in, grams.get(t));
      for (int i = 0; i < in; i++) {
        for (int j = 0; j < in; j++) {
          gram.set(i, j, i == j ? gram.get(i, j) : offDiagonal * gram.get(i, j));
        }
      }
      add(left, gram);
      add(right, gram.times(Matrix.of(out, in, weights.get(t)).transpose()));
    }
    double trace = 0;
    for (int i = 0; i < in; i++) {
      trace += left.get(i, i);
    }
    for (int i = 0; i < in; i++) {
      left.set(i, i, left.get(i, i) + RIDGE * trace / in);
    }
    return Decompositions.solve(left, right).transpose().toFloats();
  }

  private static void add(Matrix sum, Matrix term) {
    for (int i = 0; i < sum.rows(); i++) {
      for (int j = 0; j < sum.columns(); j++) {
        sum.set(i, j, sum.get(i, j) + term.get(i, j));
      }
    }
  }
}
