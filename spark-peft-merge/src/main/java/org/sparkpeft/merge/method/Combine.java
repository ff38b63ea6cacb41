package org.sparkpeft.merge.method;

/** Last step of a merge: the values of all vectors at an entry become one. */
final class Combine {
  private Combine() {}

  /** What the sum of agreeing values is divided by. */
  enum Divisor {
    /** The sum of the agreeing vectors' weights. */
    WEIGHT,
    /** The number of agreeing vectors, so weights are not normalised. */
    COUNT,
    /** Nothing. */
    ONE
  }

  /** factor * sum of weight * value. */
  static float[] weightedSum(Inputs inputs, double factor) {
    float[] result = new float[inputs.size()];
    double[] terms = new double[inputs.count()];
    for (int i = 0; i < result.length; i++) {
      for (int t = 0; t < terms.length; t++) {
        terms[t] = inputs.weight(t) * inputs.value(t, i);
      }
      result[i] = (float) (factor * Inputs.sum(terms, terms.length));
    }
    return result;
  }

  /**
   * factor times the sum of weight * value over the non-zero values of the elected sign, divided. A
   * divisor of nearly zero, as weights of both signs may give, counts as 1.
   */
  static float[] disjoint(Inputs inputs, byte[] signs, Divisor divisor, double factor) {
    float[] result = new float[inputs.size()];
    double[] terms = new double[inputs.count()];
    double[] weights = new double[inputs.count()];
    for (int i = 0; i < result.length; i++) {
      int n = 0;
      for (int t = 0; t < inputs.count(); t++) {
        float value = inputs.value(t, i);
        // The sign of the contribution decides: a negative weight turns a value over.
        double contribution = inputs.weight(t) * value;
        double agrees = divisor == Divisor.WEIGHT ? contribution : value;
        if (agrees * signs[i] > 0) {
          weights[n] = inputs.weight(t);
          terms[n++] = contribution;
        }
      }
      if (n > 0) {
        double by =
            switch (divisor) {
              case WEIGHT -> Inputs.sum(weights, n);
              case COUNT -> n;
              case ONE -> 1;
            };
        double sum = Inputs.sum(terms, n);
        result[i] = (float) (factor * (Math.abs(by) < 1e-8 ? sum : sum / by));
      }
    }
    return result;
  }
}
