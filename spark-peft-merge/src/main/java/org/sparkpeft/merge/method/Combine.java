package org.sparkpeft.merge.method;

/** Last step of a merge: the values of all vectors at an entry become one. Allocates nothing. */
final class Combine {
  /** Up to this many vectors, sums of weights are looked up by who agrees. */
  private static final int TABLE_VECTORS = 10;

  private static final double NEARLY_ZERO = 1e-8;

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

  /** factor * sum of weight * value, summed in the order of the vectors. */
  static void weightedSum(Block block, double[] weights, double factor, float[] out) {
    int n = block.length();
    double[] sum = block.first();
    sums(block, weights, sum);
    for (int i = 0; i < n; i++) {
      out[i] = (float) (factor * sum[i]);
    }
  }

  /**
   * Writes the weighted sums before rounding. Vector by vector: several conversions to double in
   * one loop wait for each other, which takes three times as long.
   */
  private static void sums(Block block, double[] weights, double[] sum) {
    int n = block.length();
    float[] x = block.values(0);
    double w = weights[0];
    for (int i = 0; i < n; i++) {
      sum[i] = w * x[i];
    }
    double[] wide = block.wide();
    for (int t = 1; t < weights.length; t++) {
      widen(block.values(t), wide, n);
      addTo(sum, wide, weights[t], n);
    }
  }

  private static void widen(float[] x, double[] wide, int n) {
    for (int i = 0; i < n; i++) {
      wide[i] = x[i];
    }
  }

  private static void addTo(double[] sum, double[] x, double w, int n) {
    for (int i = 0; i < n; i++) {
      sum[i] += w * x[i];
    }
  }

  /**
   * Sign of the weighted sum, and factor times the weighted mean of the values on that side; a sum
   * of zero counts as positive. A total weight of nearly zero, as weights of both signs may give,
   * counts as 1. The sign of the contribution decides: a negative weight turns a value over.
   *
   * <p>Sums are scalar code, in double; what lies between them is done on the bits of the values,
   * of which compilers make vector code. Values that do not agree are set to zero.
   */
  static void electByWeight(Block block, double[] weights, double factor, float[] out) {
    if (weights.length > TABLE_VECTORS) {
      electMany(block, weights, factor, out);
      return;
    }
    double[] factors = factors(weights, factor);
    if (!SparseElection.run(block, weights, factors, out)) {
      elect(block, weights, factors, out);
    }
  }

  /** Election at every entry of a block. */
  static void elect(Block block, double[] weights, double[] factors, float[] out) {
    int n = block.length();
    int[] down = block.signs();
    int[] who = block.marks();
    double[] sum = block.first();
    sums(block, weights, sum);
    signs(sum, down, n);
    java.util.Arrays.fill(who, 0, n, 0);
    for (int t = 0; t < weights.length; t++) {
      int[] bits = block.toBits(t);
      keepAgreeing(bits, down, who, weights[t] < 0 ? -1 : 0, t, n);
      block.fromBits(t);
    }
    sums(block, weights, sum);
    for (int i = 0; i < n; i++) {
      out[i] = (float) (factors[who[i]] * sum[i]);
    }
  }

  /** factor / (sum of weights) for each set of agreeing vectors, one bit for each. */
  private static double[] factors(double[] weights, double factor) {
    double[] factors = new double[1 << weights.length];
    for (int set = 0; set < factors.length; set++) {
      double sum = 0;
      for (int t = 0; t < weights.length; t++) {
        sum += (set >>> t & 1) != 0 ? weights[t] : 0;
      }
      factors[set] = factor / divisor(sum);
    }
    return factors;
  }

  private static double divisor(double sum) {
    return Math.abs(sum) < NEARLY_ZERO ? 1 : sum;
  }

  /** -1 for negative sums, else 0. */
  private static void signs(double[] sum, int[] down, int n) {
    for (int i = 0; i < n; i++) {
      // Adding zero makes a negative zero positive.
      down[i] = (int) (Double.doubleToRawLongBits(sum[i] + 0.0) >> 63);
    }
  }

  /** Sets values of the other sign to zero and notes in bit {@code t} where one is left. */
  private static void keepAgreeing(int[] bits, int[] down, int[] who, int turn, int t, int n) {
    for (int i = 0; i < n; i++) {
      int agreeing = bits[i] & ~((bits[i] >> 31) ^ turn ^ down[i]);
      bits[i] = agreeing;
      who[i] |= (-(agreeing & KeepRule.MAGNITUDE) >>> 31) << t;
    }
  }

  /** The same for so many vectors that their sets cannot be listed. */
  private static void electMany(Block block, double[] weights, double factor, float[] out) {
    int n = block.length();
    double[] sum = block.first();
    sums(block, weights, sum);
    for (int i = 0; i < n; i++) {
      boolean up = sum[i] >= 0;
      double value = 0;
      double weight = 0;
      for (int t = 0; t < weights.length; t++) {
        double contribution = weights[t] * block.values(t)[i];
        if (up ? contribution > 0 : contribution < 0) {
          value += contribution;
          weight += weights[t];
        }
      }
      out[i] = (float) (factor / divisor(weight) * value);
    }
  }

  /**
   * factor times the sum of weight * value over the values that have the elected sign, divided.
   *
   * @param signs one for each entry, +1 or -1
   */
  static void disjoint(
      Block block, double[] weights, byte[] signs, Divisor divisor, double factor, float[] out) {
    for (int i = 0; i < block.length(); i++) {
      int count = 0;
      double weight = 0;
      double value = 0;
      for (int t = 0; t < weights.length; t++) {
        float own = block.values(t)[i];
        double contribution = weights[t] * own;
        double agrees = divisor == Divisor.WEIGHT ? contribution : own;
        if (agrees * signs[i] > 0) {
          count++;
          weight += weights[t];
          value += contribution;
        }
      }
      double by =
          switch (divisor) {
            case WEIGHT -> divisor(weight);
            case COUNT -> Math.max(1, count);
            case ONE -> 1;
          };
      out[i] = (float) (factor / by * value);
    }
  }
}
