package org.sparkpeft.merge.method;

import java.util.Arrays;

/**
 * {@link Combine#electByWeight} where most entries are zero in all vectors but one, as trimming
 * leaves them: with usual weights those come out as they are. Only the others are elected, moved
 * together to the beginning of the block. The same bits as without it.
 */
final class SparseElection {
  /** One entry in so many may need an election, for this to be faster. */
  private static final int RATIO = 4;

  private SparseElection() {}

  /**
   * Elects, if few entries need it.
   *
   * @param factors for each set of agreeing vectors, one bit for each
   * @return whether it did; if not, the block is as before
   */
  static boolean run(Block block, double[] weights, double[] factors, float[] out) {
    int n = block.length();
    if (!singlesStay(weights, factors)) {
      return false;
    }
    int[] listed = block.listed();
    int[] kept = block.kept();
    int count = kept == null ? list(secondLargest(block), n, listed) : listSeveral(kept, n, listed);
    if (count > n / RATIO) {
      return false;
    }
    Arrays.fill(out, 0, n, 0); // Negative zeros become positive, as in an election.
    for (int t = 0; t < weights.length; t++) {
      addTo(out, block.values(t), n);
      gather(block.values(t), listed, count);
    }
    float[] elected = block.largest();
    Combine.elect(block.at(block.from(), count), weights, factors, elected);
    block.at(block.from(), n);
    for (int k = 0; k < count; k++) {
      out[listed[k]] = elected[k];
    }
    return true;
  }

  /** Whether a value that is alone at its entry comes out as it is, and none as zero. */
  private static boolean singlesStay(double[] weights, double[] factors) {
    boolean positive = factors[0] > 0;
    for (int t = 0; t < weights.length; t++) {
      boolean powerOfTwo = (Double.doubleToRawLongBits(weights[t]) & 0xfffffffffffffL) == 0;
      positive &= weights[t] > 0 && powerOfTwo && weights[t] * factors[1 << t] == 1;
    }
    return positive;
  }

  /** The second largest magnitude at each entry: zero unless two values are not. */
  private static float[] secondLargest(Block block) {
    float[] largest = block.largest();
    float[] second = block.second();
    Arrays.fill(largest, 0, block.length(), 0);
    Arrays.fill(second, 0, block.length(), 0);
    for (int t = 0; t < block.vectors(); t++) {
      take(block.values(t), largest, second, block.length());
    }
    return second;
  }

  private static void take(float[] values, float[] largest, float[] second, int n) {
    for (int i = 0; i < n; i++) {
      float magnitude = Math.abs(values[i]);
      second[i] = Math.max(second[i], Math.min(largest[i], magnitude));
      largest[i] = Math.max(largest[i], magnitude);
    }
  }

  /** Lists the entries above zero and gives their number; no branch to guess. */
  private static int list(float[] values, int n, int[] listed) {
    int count = 0;
    for (int i = 0; i < n; i++) {
      listed[count] = i;
      count += -Float.floatToRawIntBits(values[i]) >>> 31;
    }
    return count;
  }

  /** Lists the entries that more than one vector has. */
  private static int listSeveral(int[] kept, int n, int[] listed) {
    int count = 0;
    for (int i = 0; i < n; i++) {
      listed[count] = i;
      count += (1 - kept[i]) >>> 31;
    }
    return count;
  }

  private static void addTo(float[] out, float[] values, int n) {
    for (int i = 0; i < n; i++) {
      out[i] += values[i];
    }
  }

  private static void gather(float[] values, int[] listed, int count) {
    for (int k = 0; k < count; k++) {
      values[k] = values[listed[k]];
    }
  }
}
