package org.sparkpeft.merge.compress;

import java.util.List;

/**
 * A ternary vector as two bitmasks, and algebra on it without making it dense: value = scale *
 * (positive - negative), bit i of word i / 64. Two bits an entry; 64 entries an instruction.
 * Immutable.
 */
public final class TernaryBitmasks {
  private final int size;
  private final float scale;
  private final long[] positive;
  private final long[] negative;

  private TernaryBitmasks(int size, float scale, long[] positive, long[] negative) {
    this.size = size;
    this.scale = scale;
    this.positive = positive;
    this.negative = negative;
  }

  /** The bitmasks of a section. */
  public static TernaryBitmasks of(TernarySection section) {
    long[] positive = new long[words(section.size())];
    long[] negative = new long[words(section.size())];
    for (int i = 0; i < section.count(); i++) {
      int position = section.position(i);
      long[] mask = section.isNegative(i) ? negative : positive;
      mask[position >>> 6] |= 1L << position;
    }
    return new TernaryBitmasks(section.size(), section.scale(), positive, negative);
  }

  private static int words(int size) {
    return (size + 63) >>> 6;
  }

  /** Back to positions and signs. */
  public TernarySection toSection() {
    int[] positions = new int[count()];
    boolean[] signs = new boolean[positions.length];
    int n = 0;
    for (int word = 0; word < positive.length; word++) {
      for (long left = positive[word] | negative[word]; left != 0; left &= left - 1) {
        int bit = Long.numberOfTrailingZeros(left);
        signs[n] = (negative[word] >>> bit & 1) != 0;
        positions[n++] = (word << 6) + bit;
      }
    }
    return TernarySection.of(size, positions, signs, scale);
  }

  public int size() {
    return size;
  }

  public float scale() {
    return scale;
  }

  /** Entries that are not zero. */
  public int count() {
    int count = 0;
    for (int i = 0; i < positive.length; i++) {
      count += Long.bitCount(positive[i] | negative[i]);
    }
    return count;
  }

  /** Entries at which both are non-zero and agree, less those at which they differ in sign. */
  public long agreement(TernaryBitmasks other) {
    requireSameSize(other);
    long agreement = 0;
    for (int i = 0; i < positive.length; i++) {
      long same = (positive[i] & other.positive[i]) | (negative[i] & other.negative[i]);
      agreement += Long.bitCount(same) - Long.bitCount(opposite(other, i));
    }
    return agreement;
  }

  /** Entries at which both are non-zero and differ in sign. */
  public long disagreement(TernaryBitmasks other) {
    requireSameSize(other);
    long count = 0;
    for (int i = 0; i < positive.length; i++) {
      count += Long.bitCount(opposite(other, i));
    }
    return count;
  }

  private long opposite(TernaryBitmasks other, int word) {
    return (positive[word] & other.negative[word]) | (negative[word] & other.positive[word]);
  }

  /** Inner product. */
  public double dot(TernaryBitmasks other) {
    return (double) scale * other.scale * agreement(other);
  }

  /** Inner product with a dense vector, in index order. */
  public double dot(float[] dense) {
    requireSize(dense.length);
    double sum = 0;
    for (int word = 0; word < positive.length; word++) {
      for (long left = positive[word] | negative[word]; left != 0; left &= left - 1) {
        int bit = Long.numberOfTrailingZeros(left);
        float value = dense[(word << 6) + bit];
        sum += (negative[word] >>> bit & 1) != 0 ? -value : value;
      }
    }
    return scale * sum;
  }

  /** Euclidean norm. */
  public double norm() {
    return Math.abs(scale) * Math.sqrt(count());
  }

  /** Cosine of the angle between both; 0 if one has no entries. */
  public double cosine(TernaryBitmasks other) {
    double counts = (double) count() * other.count();
    double sign = Math.signum((double) scale * other.scale);
    return counts == 0 ? 0 : sign * agreement(other) / Math.sqrt(counts);
  }

  /** The vector times -1. */
  public TernaryBitmasks negate() {
    return new TernaryBitmasks(size, scale, /* positive= */ negative, /* negative= */ positive);
  }

  /** Adds {@code weight * this} to {@code sum}. */
  public void addTo(double[] sum, double weight) {
    requireSize(sum.length);
    double amount = weight * scale;
    for (int word = 0; word < positive.length; word++) {
      for (long left = positive[word]; left != 0; left &= left - 1) {
        sum[(word << 6) + Long.numberOfTrailingZeros(left)] += amount;
      }
      for (long left = negative[word]; left != 0; left &= left - 1) {
        sum[(word << 6) + Long.numberOfTrailingZeros(left)] -= amount;
      }
    }
  }

  /**
   * The sign most vectors give each entry, ties and entries no vector has being zero; magnitude 1.
   * With a negative scale a vector's signs are turned over. This is the majority vote of signSGD
   * and the frequency election of TIES.
   */
  public static TernaryBitmasks majority(List<TernaryBitmasks> vectors) {
    if (vectors.isEmpty()) {
      throw new IllegalArgumentException("a vote needs at least one vector");
    }
    TernaryBitmasks first = vectors.get(0);
    vectors.forEach(first::requireSameSize);
    long[] positive = new long[first.positive.length];
    long[] negative = new long[first.positive.length];
    VoteCounter up = new VoteCounter(vectors.size());
    VoteCounter down = new VoteCounter(vectors.size());
    for (int word = 0; word < positive.length; word++) {
      up.clear();
      down.clear();
      for (TernaryBitmasks vector : vectors) {
        boolean turned = vector.scale < 0;
        up.add(turned ? vector.negative[word] : vector.positive[word]);
        down.add(turned ? vector.positive[word] : vector.negative[word]);
      }
      positive[word] = up.greaterThan(down);
      negative[word] = down.greaterThan(up);
    }
    return new TernaryBitmasks(first.size, 1, positive, negative);
  }

  /**
   * TIES of vectors that are trimmed already: at each entry the sign of the weighted sum, zero
   * counting as positive, and the weighted mean of the values of that sign.
   *
   * @param weights one above 0 for each vector
   */
  public static float[] ties(List<TernaryBitmasks> vectors, double[] weights) {
    if (vectors.isEmpty() || vectors.size() != weights.length) {
      throw new IllegalArgumentException(
          "needs a weight for each vector, got " + vectors.size() + " and " + weights.length);
    }
    int size = vectors.get(0).size;
    double[][] sums = new double[2][size];
    double[][] totals = new double[2][size];
    for (int t = 0; t < weights.length; t++) {
      TernaryBitmasks vector = vectors.get(t);
      vectors.get(0).requireSameSize(vector);
      int up = vector.scale < 0 ? 1 : 0;
      double value = weights[t] * vector.scale;
      accumulate(vector.positive, sums[up], value, totals[up], weights[t]);
      accumulate(vector.negative, sums[1 - up], -value, totals[1 - up], weights[t]);
    }
    float[] merged = new float[size];
    for (int i = 0; i < size; i++) {
      int side = sums[0][i] + sums[1][i] >= 0 ? 0 : 1;
      merged[i] = totals[side][i] > 0 ? (float) (sums[side][i] / totals[side][i]) : 0;
    }
    return merged;
  }

  private static void accumulate(
      long[] mask, double[] sum, double value, double[] total, double weight) {
    for (int word = 0; word < mask.length; word++) {
      for (long left = mask[word]; left != 0; left &= left - 1) {
        int i = (word << 6) + Long.numberOfTrailingZeros(left);
        sum[i] += value;
        total[i] += weight;
      }
    }
  }

  private void requireSameSize(TernaryBitmasks other) {
    requireSize(other.size);
  }

  private void requireSize(int other) {
    if (other != size) {
      throw new IllegalArgumentException("sizes differ: " + size + " and " + other);
    }
  }

  /**
   * 64 counters side by side: word b holds bit b of each, and adding a mask is a carry-save add.
   */
  private static final class VoteCounter {
    private final long[] bits;

    VoteCounter(int most) {
      bits = new long[32 - Integer.numberOfLeadingZeros(most)];
    }

    void clear() {
      java.util.Arrays.fill(bits, 0);
    }

    void add(long mask) {
      long carry = mask;
      for (int b = 0; carry != 0; b++) {
        long sum = bits[b] ^ carry;
        carry &= bits[b];
        bits[b] = sum;
      }
    }

    /** The counters that are above the other's. */
    long greaterThan(VoteCounter other) {
      long greater = 0;
      long undecided = -1;
      for (int b = bits.length - 1; b >= 0; b--) {
        greater |= undecided & bits[b] & ~other.bits[b];
        undecided &= ~(bits[b] ^ other.bits[b]);
      }
      return greater;
    }
  }
}
