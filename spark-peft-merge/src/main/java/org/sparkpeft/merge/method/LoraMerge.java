package org.sparkpeft.merge.method;

import java.util.List;

/**
 * Merging the LoRA modules of one layer, as Hugging Face PEFT's add_weighted_adapter does. Results
 * have scaling 1, so set lora_alpha = r when writing them. The delta weights themselves are never
 * formed.
 */
public final class LoraMerge {
  private LoraMerge() {}

  /**
   * Exactly sum(w_i delta W_i), for any ranks: A's stacked as rows, each times w_i s_i, B's side by
   * side. Its rank is the sum of ranks. ("cat")
   */
  public static LoraModule concatenate(List<LoraModule> modules, List<Double> weights) {
    check(modules, weights);
    int rank = modules.stream().mapToInt(LoraModule::rank).sum();
    LoraModule first = modules.get(0);
    Matrix a = new Matrix(rank, first.in());
    Matrix b = new Matrix(first.out(), rank);
    int at = 0;
    for (int i = 0; i < modules.size(); i++) {
      LoraModule module = modules.get(i);
      a.paste(module.matrixA(), at, 0, weights.get(i) * module.scaling());
      b.paste(module.matrixB(), 0, at, 1);
      at += module.rank();
    }
    return new LoraModule(a, b, 1);
  }

  /**
   * A = sum(sign(w s) sqrt|w s| A_i), B = sum(sqrt|w s| B_i), for equal ranks. Not the sum of delta
   * weights: products of different modules' factors come in, and weights of 1 and -1 do not
   * subtract. ("linear")
   */
  public static LoraModule linear(List<LoraModule> modules, List<Double> weights) {
    check(modules, weights);
    LoraModule first = modules.get(0);
    double[] left = new double[modules.size()];
    double[] right = new double[modules.size()];
    for (int i = 0; i < left.length; i++) {
      double coefficient = weights.get(i) * modules.get(i).scaling();
      right[i] = Math.sqrt(Math.abs(coefficient));
      left[i] = Math.signum(coefficient) * right[i];
      if (modules.get(i).rank() != first.rank()) {
        throw new IllegalArgumentException(
            "adding factors needs equal ranks, got "
                + first.rank()
                + " and "
                + modules.get(i).rank()
                + "; use cat or svd");
      }
    }
    return factorSum(modules, left, right);
  }

  /** A = sum(left_i A_i), B = sum(right_i B_i), scaling 1. */
  static LoraModule factorSum(List<LoraModule> modules, double[] left, double[] right) {
    LoraModule first = modules.get(0);
    Matrix a = new Matrix(first.rank(), first.in());
    Matrix b = new Matrix(first.out(), first.rank());
    for (int i = 0; i < left.length; i++) {
      add(a, modules.get(i).matrixA(), left[i]);
      add(b, modules.get(i).matrixB(), right[i]);
    }
    return new LoraModule(a, b, 1);
  }

  private static void add(Matrix sum, Matrix term, double factor) {
    for (int i = 0; i < sum.rows(); i++) {
      for (int j = 0; j < sum.columns(); j++) {
        sum.set(i, j, sum.get(i, j) + factor * term.get(i, j));
      }
    }
  }

  /**
   * The best approximation of sum(w_i delta W_i) of a given rank: B = U_r diag(S_r), A = V_r^T.
   * ("svd") Exact if the rank is at least the sum of ranks. Cost O((out + in) R^2), R the sum of
   * ranks.
   */
  public static LoraModule svd(List<LoraModule> modules, List<Double> weights, int rank) {
    if (rank < 1) {
      throw new IllegalArgumentException("the rank must be at least 1, got " + rank);
    }
    LoraModule sum = concatenate(modules, weights);
    Decompositions.Qr left = Decompositions.qr(sum.matrixB());
    Decompositions.Qr right = Decompositions.qr(sum.matrixA().transpose());
    Decompositions.Svd core = Decompositions.svd(left.r().times(right.r().transpose()));
    int kept = Math.min(rank, sum.rank());
    Matrix b = left.q().times(core.u().scaleColumns(core.values())).columnRange(0, kept);
    Matrix a = right.q().times(core.v()).columnRange(0, kept).transpose();
    return new LoraModule(a, b, 1);
  }

  /**
   * The best approximation of a dense delta W by a given rank: B = U_r diag(S_r), A = V_r^T, from
   * the eigenvectors of its smaller Gram matrix. Cost O(n^3), n the smaller side.
   *
   * @param delta out x in, row-major
   * @param rank at least 1; at most the smaller dimension is used
   */
  public static LoraModule factorise(int out, int in, float[] delta, int rank) {
    return Factorisation.of(out, in, delta, rank);
  }

  static void check(List<LoraModule> modules, List<Double> weights) {
    if (modules.isEmpty() || modules.size() != weights.size()) {
      throw new IllegalArgumentException(
          "needs at least one module and a weight for each, got "
              + modules.size()
              + " and "
              + weights.size());
    }
    LoraModule first = modules.get(0);
    for (LoraModule module : modules) {
      if (module.in() != first.in() || module.out() != first.out()) {
        throw new IllegalArgumentException(
            "modules of one layer have one shape, got "
                + first.out()
                + "x"
                + first.in()
                + " and "
                + module.out()
                + "x"
                + module.in());
      }
    }
  }
}
