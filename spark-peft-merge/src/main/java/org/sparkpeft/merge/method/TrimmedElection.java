package org.sparkpeft.merge.method;

import java.util.Arrays;
import java.util.List;
import org.sparkpeft.core.vector.Quarters;

/**
 * Trimming by {@link KeepRule}s and {@link Combine#electByWeight} at once, for a few vectors of
 * equal weights: most entries keep two values at most, and what becomes of those is exact in single
 * precision. The others are elected by themselves. The same bits as one after the other.
 *
 * <p>Compilers make vector code of arithmetic, not of comparisons. So whether {@code x > 0} is
 * computed: {@code y / (y + tiny)} of {@code y = x + |x|} is 1 or 0, as long as {@code tiny} is
 * lost beside every {@code y > 0} there can be. (Math.min is left out: what becomes of it depends
 * on what it was called with before.)
 */
final class TrimmedElection {
  /** With more vectors, too many entries keep three values. */
  private static final int MOST_VECTORS = 6;

  /** One entry in so many may keep three values, for this to be faster. */
  private static final int RATIO = 4;

  /** Beside values from here on, what is computed with stays far from the smallest floats. */
  private static final float LEAST = 0x1p-60f;

  private TrimmedElection() {}

  /**
   * Merges, if this is faster.
   *
   * @return whether it did; if not, the block is as before
   */
  static boolean run(
      Block block, List<VectorStep> steps, double[] weights, double factor, float[] out) {
    int n = block.length();
    float[] bounds = bounds(block, steps);
    if (bounds.length == 0 || factor != 1 || !isMean(weights)) {
      return false;
    }
    float[] kept = block.third();
    float[] positive = block.largest();
    float[] negative = block.second();
    for (float[] sums : List.of(kept, positive, negative)) {
      Arrays.fill(sums, 0, n, 0);
    }
    float least = Float.MAX_VALUE;
    for (int t = 0; t < bounds.length; t++) {
      add(block.values(t), bounds[t], tiny(bounds[t]), kept, positive, negative, n);
      least = Math.min(least, bounds[t]);
    }
    elect(kept, positive, negative, tiny(least), out, n);
    int[] listed = block.listed();
    int count = listPositive(kept, positive, n, listed);
    if (count > n / RATIO || !block.check().allFinite(out, n)) {
      return false;
    }
    if (count > 0) {
      electListed(block, steps, listed, count, weights, out);
    }
    return true;
  }

  /**
   * The value that kept magnitudes exceed, for each vector; nothing if there is a vector of which
   * that is not all, or which is not trimmed.
   */
  private static float[] bounds(Block block, List<VectorStep> steps) {
    float[] bounds = new float[steps.size()];
    for (int t = 0; t < bounds.length; t++) {
      float bound =
          steps.get(t) instanceof VectorStep.Keep keep
              ? keep.rule().bound(block.length(), block.from())
              : Float.NaN;
      if (bounds.length > MOST_VECTORS || !(bound >= LEAST)) {
        return new float[0];
      }
      bounds[t] = bound;
    }
    return bounds;
  }

  /** Whether products with the weights are exact, and divided by their sum again the mean. */
  private static boolean isMean(double[] weights) {
    double weight = weights[0];
    return weight > 0
        && (Double.doubleToRawLongBits(weight) & 0xfffffffffffffL) == 0
        && Arrays.stream(weights).allMatch(other -> other == weight);
  }

  /** Less than half a unit in the last place of the least difference of values from here on. */
  private static float tiny(float bound) {
    return Math.ulp(bound) * 0x1p-30f;
  }

  /** Counts what is kept, and adds twice what is kept to the sum on its side of zero. */
  private static void add(
      float[] values,
      float bound,
      float tiny,
      float[] kept,
      float[] positive,
      float[] negative,
      int n) {
    for (int i = 0; i < n; i++) {
      float above = Math.abs(values[i]) - bound;
      float twice = above + Math.abs(above);
      float stays = twice / (twice + tiny);
      float value = values[i] * stays;
      float magnitude = Math.abs(value);
      kept[i] += stays;
      positive[i] += magnitude + value;
      negative[i] += value - magnitude;
    }
  }

  /**
   * The side with the larger sum, positive if they are equal, where one or two are kept: half of
   * the doubled sum, and half of that again if two agree. Leaves in {@code kept} what is above zero
   * where more are kept.
   */
  private static void elect(
      float[] kept, float[] positive, float[] negative, float tiny, float[] out, int n) {
    for (int i = 0; i < n; i++) {
      float up = positive[i];
      float down = negative[i];
      float sum = up + down;
      float below = Math.abs(sum) - sum;
      float turns = below / (below + tiny);
      float disagree = up / (up + tiny) * (down / (down - tiny));
      float more = kept[i] - 1;
      more += Math.abs(more);
      out[i] = (up * (1 - turns) + down * turns) * (0.5f - 0.125f * more * (1 - disagree));
      kept[i] = more - 2 + Math.abs(more - 2);
    }
  }

  /** Lists the entries above zero, of which there are few, in order. */
  private static int listPositive(float[] values, float[] scratch, int n, int[] listed) {
    int quarter = n / 4;
    Quarters.add(values, quarter, scratch);
    int count = 0;
    for (int i = 0; i < quarter; i++) {
      if (scratch[i] > 0) {
        for (int at = i; at < 4 * quarter; at += quarter) {
          listed[count] = at;
          count += values[at] > 0 ? 1 : 0;
        }
      }
    }
    for (int i = 4 * quarter; i < n; i++) {
      if (values[i] > 0) {
        listed[count++] = i;
      }
    }
    Arrays.sort(listed, 0, count);
    return count;
  }

  /** Moves the listed entries to the beginning of the block, trims and elects them there. */
  private static void electListed(
      Block block, List<VectorStep> steps, int[] listed, int count, double[] weights, float[] out) {
    int n = block.length();
    for (int t = 0; t < weights.length; t++) {
      float[] values = block.values(t);
      for (int k = 0; k < count; k++) {
        values[k] = values[listed[k]];
      }
    }
    // The rules are the same at all positions of the block.
    block.at(block.from(), count);
    for (int t = 0; t < weights.length; t++) {
      steps.get(t).apply(block, t);
    }
    float[] elected = block.third();
    Combine.elect(block, weights, Combine.factors(weights, 1), elected);
    block.at(block.from(), n);
    for (int k = 0; k < count; k++) {
      out[listed[k]] = elected[k];
    }
  }
}
