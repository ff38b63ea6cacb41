package org.sparkpeft.federated.client;

import org.sparkpeft.core.random.Philox;

/**
 * Draws from a symmetric Dirichlet distribution as normalised gamma variates (Marsaglia and Tsang
 * 2000, with the boost {@code U^(1/a)} for shapes below 1). Worked in logarithms, so that tiny
 * concentrations do not underflow to all zeros. {@link StrictMath} only: the same bits on every
 * machine.
 */
final class DirichletDraw {
  private static final int TRIES_PER_VARIATE = 1 << 16;

  private DirichletDraw() {}

  /**
   * @param count number of shares
   * @param concentration parameter of each component, above 0
   * @return {@code count} non-negative shares that add up to 1
   */
  static double[] draw(Philox random, int count, double concentration) {
    double[] logs = new double[count];
    double largest = Double.NEGATIVE_INFINITY;
    for (int i = 0; i < count; i++) {
      logs[i] = logGamma(random.child(i), concentration);
      largest = Math.max(largest, logs[i]);
    }
    double sum = 0;
    double[] shares = new double[count];
    for (int i = 0; i < count; i++) {
      shares[i] = StrictMath.exp(logs[i] - largest);
      sum += shares[i];
    }
    for (int i = 0; i < count; i++) {
      shares[i] /= sum;
    }
    return shares;
  }

  /** Logarithm of a Gamma(shape, 1) variate. */
  private static double logGamma(Philox random, double shape) {
    double boost = 0;
    double a = shape;
    if (shape < 1) {
      boost = StrictMath.log(1 - random.doubleAt(0)) / shape;
      a = shape + 1;
    }
    double d = a - 1.0 / 3;
    double c = 1 / StrictMath.sqrt(9 * d);
    for (int attempt = 0; attempt < TRIES_PER_VARIATE; attempt++) {
      Philox draw = random.child(attempt + 1L);
      double x = draw.gaussianAt(0);
      double v = 1 + c * x;
      if (v <= 0) {
        continue;
      }
      v = v * v * v;
      double logU = StrictMath.log(1 - draw.doubleAt(7));
      if (logU < 0.5 * x * x + d - d * v + d * StrictMath.log(v)) {
        return StrictMath.log(d * v) + boost;
      }
    }
    throw new IllegalStateException(
        "no gamma variate of shape " + shape + " in " + TRIES_PER_VARIATE + " tries");
  }
}
