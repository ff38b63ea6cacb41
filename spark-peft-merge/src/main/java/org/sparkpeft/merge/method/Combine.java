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
    switch (weights.length) {
      case 1 -> sumOne(block.values(0), weights[0], factor, out, n);
      case 2 -> sumTwo(block.values(0), block.values(1), weights[0], weights[1], factor, out, n);
      case 3 -> sumThree(block, weights, factor, out, n);
      default -> sumMany(block, weights, factor, out, n);
    }
  }

  private static void sumOne(float[] x, double w, double factor, float[] out, int n) {
    for (int i = 0; i < n; i++) {
      out[i] = (float) (factor * (w * x[i]));
    }
  }

  private static void sumTwo(
      float[] x, float[] y, double v, double w, double factor, float[] out, int n) {
    for (int i = 0; i < n; i++) {
      out[i] = (float) (factor * (v * x[i] + w * y[i]));
    }
  }

  private static void sumThree(Block block, double[] weights, double factor, float[] out, int n) {
    float[] x = block.values(0);
    float[] y = block.values(1);
    float[] z = block.values(2);
    double u = weights[0];
    double v = weights[1];
    double w = weights[2];
    for (int i = 0; i < n; i++) {
      out[i] = (float) (factor * (u * x[i] + v * y[i] + w * z[i]));
    }
  }

  private static void sumMany(Block block, double[] weights, double factor, float[] out, int n) {
    double[] sum = block.first();
    float[] x = block.values(0);
    for (int i = 0; i < n; i++) {
      sum[i] = weights[0] * x[i];
    }
    for (int t = 1; t < weights.length; t++) {
      float[] y = block.values(t);
      double w = weights[t];
      for (int i = 0; i < n; i++) {
        sum[i] += w * y[i];
      }
    }
    for (int i = 0; i < n; i++) {
      out[i] = (float) (factor * sum[i]);
    }
  }

  /**
   * Sign of the weighted sum, and factor times the weighted mean of the values on that side; a sum
   * of zero counts as positive. A total weight of nearly zero, as weights of both signs may give,
   * counts as 1. The sign of the contribution decides: a negative weight turns a value over.
   */
  static void electByWeight(Block block, double[] weights, double factor, float[] out) {
    if (weights.length > TABLE_VECTORS) {
      electMany(block, weights, factor, out);
      return;
    }
    int n = block.length();
    double[] positive = block.first();
    double[] negative = block.second();
    int[] who = block.marks();
    double[] factors = factors(weights, factor);
    if (weights.length == 3) {
      electThree(block, weights, factors, out, n);
      return;
    }
    for (int t = 0; t < weights.length; t++) {
      sides(block.values(t), weights[t], t, positive, negative, who, n);
    }
    for (int i = 0; i < n; i++) {
      out[i] = elected(positive[i], negative[i], who[i], factors);
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

  /** Adds a vector's contributions; who is on the positive side in the low half of {@code who}. */
  private static void sides(
      float[] x, double weight, int t, double[] positive, double[] negative, int[] who, int n) {
    int turn = weight < 0 ? -1 : 0;
    double w = Math.abs(weight);
    if (t == 0) {
      java.util.Arrays.fill(positive, 0, n, 0);
      java.util.Arrays.fill(negative, 0, n, 0);
      java.util.Arrays.fill(who, 0, n, 0);
    }
    for (int i = 0; i < n; i++) {
      int bits = Float.floatToRawIntBits(x[i]) ^ (turn & 0x80000000);
      int below = bits >> 31;
      int some = -(bits & KeepRule.MAGNITUDE) >>> 31;
      positive[i] += w * Float.intBitsToFloat(bits & ~below);
      negative[i] += w * Float.intBitsToFloat(bits & below);
      who[i] |= some << (t + (below & 16));
    }
  }

  /** The same for three vectors at once, without storing what lies between. */
  private static void electThree(
      Block block, double[] weights, double[] factors, float[] out, int n) {
    float[] x = block.values(0);
    float[] y = block.values(1);
    float[] z = block.values(2);
    int turnX = weights[0] < 0 ? 0x80000000 : 0;
    int turnY = weights[1] < 0 ? 0x80000000 : 0;
    int turnZ = weights[2] < 0 ? 0x80000000 : 0;
    double u = Math.abs(weights[0]);
    double v = Math.abs(weights[1]);
    double w = Math.abs(weights[2]);
    for (int i = 0; i < n; i++) {
      int a = Float.floatToRawIntBits(x[i]) ^ turnX;
      int b = Float.floatToRawIntBits(y[i]) ^ turnY;
      int c = Float.floatToRawIntBits(z[i]) ^ turnZ;
      int belowA = a >> 31;
      int belowB = b >> 31;
      int belowC = c >> 31;
      double positive =
          u * Float.intBitsToFloat(a & ~belowA)
              + v * Float.intBitsToFloat(b & ~belowB)
              + w * Float.intBitsToFloat(c & ~belowC);
      double negative =
          u * Float.intBitsToFloat(a & belowA)
              + v * Float.intBitsToFloat(b & belowB)
              + w * Float.intBitsToFloat(c & belowC);
      int someA = -(a & KeepRule.MAGNITUDE) >>> 31;
      int someB = -(b & KeepRule.MAGNITUDE) >>> 31;
      int someC = -(c & KeepRule.MAGNITUDE) >>> 31;
      int who =
          someA << (belowA & 16) | someB << (1 + (belowB & 16)) | someC << (2 + (belowC & 16));
      out[i] = elected(positive, negative, who, factors);
    }
  }

  private static float elected(double positive, double negative, int who, double[] factors) {
    // -1 for a negative sum, without a branch that half of the entries would guess wrong.
    double sum = positive + negative;
    int down = (int) (Double.doubleToRawLongBits(sum + 0.0) >> 63);
    long kept =
        (Double.doubleToRawLongBits(positive) & ~(long) down)
            | (Double.doubleToRawLongBits(negative) & down);
    return (float) (factors[who >>> (down & 16) & 0xffff] * Double.longBitsToDouble(kept));
  }

  /** The same for so many vectors that their sets cannot be listed. */
  private static void electMany(Block block, double[] weights, double factor, float[] out) {
    int n = block.length();
    double[] sum = block.first();
    double[] total = block.second();
    weightedSums(block, weights, sum, n);
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
      total[i] = factor / divisor(weight) * value;
    }
    for (int i = 0; i < n; i++) {
      out[i] = (float) total[i];
    }
  }

  /** Each side summed on its own, as everywhere, then both together. */
  private static void weightedSums(Block block, double[] weights, double[] sum, int n) {
    for (int i = 0; i < n; i++) {
      double positive = 0;
      double negative = 0;
      for (int t = 0; t < weights.length; t++) {
        double contribution = weights[t] * block.values(t)[i];
        if (contribution > 0) {
          positive += contribution;
        } else {
          negative += contribution;
        }
      }
      sum[i] = positive + negative;
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
