package org.sparkpeft.merge.method;

import java.util.Arrays;
import java.util.List;
import org.sparkpeft.core.vector.Strips;

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
  private static final float LEAST = 0x1p-45f;

  /** Sums of less are not divided by. */
  private static final double LEAST_WEIGHT = 1e-6;

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
    Arrays.fill(kept, 0, n, 0);
    Arrays.fill(positive, 0, n, 0);
    Arrays.fill(negative, 0, n, 0);
    float least = Float.MAX_VALUE;
    for (int t = 0; t < bounds.length; t++) {
      add(block.values(t), bounds[t], tiny(bounds[t]), kept, positive, negative, n);
      least = Math.min(least, bounds[t]);
    }
    chooseSide(positive, negative, tiny(least), out, n);
    agree(positive, negative, least * least * 0x1p-30f, n);
    divide(kept, negative, out, n);
    int[] listed = block.listed();
    int count = listPositive(kept, positive, negative, n, listed);
    if (count > n / RATIO || !block.check().allFinite(out, n, 1)) {
      return false;
    }
    electListed(block, bounds, listed, count, weights[0], out);
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

  /** Whether products with the weights are exact, and divided by their sum the mean. */
  private static boolean isMean(double[] weights) {
    double weight = weights[0];
    boolean exact =
        weight > LEAST_WEIGHT && (Double.doubleToRawLongBits(weight) & 0xfffffffffffffL) == 0;
    for (double other : weights) {
      exact &= other == weight;
    }
    return exact;
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

  /** Twice what becomes of an entry: the larger of its two sums, positive if they are equal. */
  private static void chooseSide(
      float[] positive, float[] negative, float tiny, float[] out, int n) {
    for (int i = 0; i < n; i++) {
      float sum = positive[i] + negative[i];
      float below = Math.abs(sum) - sum;
      float turns = below / (below + tiny);
      out[i] = positive[i] * (1 - turns) + negative[i] * turns;
    }
  }

  /** Leaves in {@code negative} 1 where there are no values on both sides, else 0. */
  private static void agree(float[] positive, float[] negative, float tiny, int n) {
    for (int i = 0; i < n; i++) {
      float product = positive[i] * negative[i];
      negative[i] = 1 - product / (product - tiny);
    }
  }

  /**
   * Half of it, and half of that again where two are kept that agree. Leaves in {@code kept} what
   * is above zero where more are kept.
   */
  private static void divide(float[] kept, float[] agree, float[] out, int n) {
    for (int i = 0; i < n; i++) {
      float more = kept[i] - 1;
      more += Math.abs(more);
      out[i] *= 0.5f - 0.125f * more * agree[i];
      kept[i] = more - 2 + Math.abs(more - 2);
    }
  }

  /** Lists the entries above zero, of which there are few, in no order to rely on. */
  private static int listPositive(
      float[] values, float[] strips, float[] scratch, int n, int[] listed) {
    int strip = Strips.length(n);
    int whole = Strips.COUNT * strip;
    System.arraycopy(values, 0, strips, 0, n);
    Strips.fold(strips, n, scratch);
    int count = 0;
    for (int i = 0; i < strip; i++) {
      if (strips[i] > 0) {
        for (int at = i; at < whole; at += strip) {
          listed[count] = at;
          count += values[at] > 0 ? 1 : 0;
        }
      }
    }
    for (int i = whole; i < n; i++) {
      if (values[i] > 0) {
        listed[count++] = i;
      }
    }
    return count;
  }

  /** What {@link Combine#elect} does to trimmed values, for one entry after the other. */
  private static void electListed(
      Block block, float[] bounds, int[] listed, int count, double weight, float[] out) {
    for (int k = 0; k < count; k++) {
      int at = listed[k];
      double sum = 0;
      for (int t = 0; t < bounds.length; t++) {
        sum += weight * kept(block.values(t)[at], bounds[t]);
      }
      double chosen = 0;
      int agreeing = 0;
      for (int t = 0; t < bounds.length; t++) {
        float value = kept(block.values(t)[at], bounds[t]);
        if (sum >= 0 ? value > 0 : value < 0) {
          chosen += weight * value;
          agreeing++;
        }
      }
      out[at] = (float) (1 / (agreeing * weight) * chosen);
    }
  }

  private static float kept(float value, float bound) {
    return Math.abs(value) > bound ? value : 0;
  }
}
