package org.sparkpeft.core.peft.lora;

import java.util.Arrays;
import java.util.Comparator;
import java.util.stream.IntStream;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.LeadingFactors;

/** Which entries of weights DSEE trains, and which it prunes. */
final class SparseSupport {
  private SparseSupport() {}

  /**
   * Places, in row-major order, of the {@code n} entries to train.
   *
   * @param how {@code decomposed}: those largest in magnitude once the leading {@code r} singular
   *     values are taken away; {@code magnitude}: the largest; {@code random}
   * @param weight {@code [out, in]}
   */
  static int[] choose(String how, int n, float[] weight, int out, int in, int r, Philox random) {
    if (how.equals("random")) {
      int[] chosen = Arrays.copyOf(random.permutation(weight.length), n);
      Arrays.sort(chosen);
      return chosen;
    }
    float[] rest = weight.clone();
    if (how.equals("decomposed")) {
      int k = Math.min(r, Math.min(out, in));
      LeadingFactors svd = LeadingFactors.svd(weight, out, in, k);
      double[] ones = new double[k];
      double[] values = new double[k];
      for (int i = 0; i < k; i++) {
        ones[i] = 1;
        values[i] = svd.value(i);
      }
      LowRank.addProduct(rest, svd.left(values), svd.right(ones), out, in, -1);
    }
    return IntStream.range(0, rest.length)
        .boxed()
        .sorted(
            Comparator.comparingDouble((Integer i) -> -Math.abs(rest[i]))
                .thenComparing(Comparator.naturalOrder()))
        .limit(n)
        .mapToInt(Integer::intValue)
        .sorted()
        .toArray();
  }

  /**
   * The magnitude below which a share of all the weights' entries lies: exact, from a histogram of
   * the upper halves of their bits and one of the lower halves.
   *
   * @param ratio in (0, 1)
   */
  static float threshold(Iterable<String> weights, BaseWeights base, double ratio) {
    long[] upper = new long[1 << 16];
    long total = 0;
    for (String name : weights) {
      float[] values = base.tensor(name);
      total += values.length;
      for (float value : values) {
        upper[bits(value) >>> 16]++;
      }
    }
    long rank = (long) (ratio * total);
    int bin = 0;
    while (rank >= upper[bin]) {
      rank -= upper[bin++];
    }
    long[] lower = new long[1 << 16];
    for (String name : weights) {
      for (float value : base.tensor(name)) {
        if (bits(value) >>> 16 == bin) {
          lower[bits(value) & 0xFFFF]++;
        }
      }
    }
    int rest = 0;
    while (rank >= lower[rest]) {
      rank -= lower[rest++];
    }
    return Float.intBitsToFloat(bin << 16 | rest);
  }

  private static int bits(float value) {
    return Float.floatToRawIntBits(Math.abs(value));
  }
}
