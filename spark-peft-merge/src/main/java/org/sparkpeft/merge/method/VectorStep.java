package org.sparkpeft.merge.method;

import java.io.Serializable;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.merge.compress.Sparsifiers;
import org.sparkpeft.merge.compress.TopKSelection;

/** What happens to one vector's entries before the vectors are combined: the sparsify step. */
sealed interface VectorStep extends Serializable {
  /** Changes a vector's values in a block; may use the block's marks and bits. */
  void apply(Block block, int vector);

  /** Whether it needs complete rows. */
  default boolean wholeRows() {
    return false;
  }

  /** Whether places within {@code [from, from + n)} do not count. */
  default boolean takesAnyOrder(long from, int n) {
    return false;
  }

  /** Nothing happens. */
  record None() implements VectorStep {
    @Override
    public void apply(Block block, int vector) {}

    @Override
    public boolean takesAnyOrder(long from, int n) {
      return true;
    }
  }

  /** The largest magnitudes stay. */
  record Keep(KeepRule rule) implements VectorStep {
    @Override
    public void apply(Block block, int vector) {
      rule.apply(block.toBits(vector), block.countsOfKept(), block.length(), block.from());
      block.fromBits(vector);
    }

    @Override
    public boolean takesAnyOrder(long from, int n) {
      return rule.isOne(from, n);
    }
  }

  /** The largest magnitudes stay, without the very largest. */
  record Band(KeepRule rule, KeepRule outliers) implements VectorStep {
    @Override
    public void apply(Block block, int vector) {
      int[] bits = block.toBits(vector);
      rule.apply(bits, block.length(), block.from());
      outliers.drop(bits, block.length(), block.from());
      block.fromBits(vector);
    }

    @Override
    public boolean takesAnyOrder(long from, int n) {
      return rule.isOne(from, n) && outliers.isOne(from, n);
    }
  }

  /** The same in each row of {@code columns}: outliers first, then the largest of what is left. */
  record RowBand(int columns, int outliers, int kept) implements VectorStep {
    @Override
    public void apply(Block block, int vector) {
      float[] values = block.values(vector);
      int n = block.length();
      for (int row = 0; row < n; row += columns) {
        int[] both = TopKSelection.indices(values, row, row + columns, outliers + kept);
        int[] top = TopKSelection.indices(values, row, row + columns, outliers);
        int next = 0;
        for (int i = row; i < row + columns; i++) {
          if (next < both.length && both[next] == i) {
            next++;
          } else {
            values[i] = 0;
          }
        }
        for (int i : top) {
          values[i] = 0;
        }
      }
    }

    @Override
    public boolean wholeRows() {
      return true;
    }
  }

  /**
   * Entries drop out at random; the rest is multiplied.
   *
   * @param random which numbers
   * @param factor on what stays
   */
  record Drop(Draw random, double density, double factor) implements VectorStep {
    @Override
    public void apply(Block block, int vector) {
      float[] values = block.values(vector);
      int n = block.length();
      int[] scratch = block.marks();
      random.numbers(block.from(), n, scratch);
      long limit = (long) Math.ceil(density * 0x1p32);
      for (int i = 0; i < n; i++) {
        // All ones where the number is below the limit: no branch to guess.
        int mask = (int) ((scratch[i] & 0xffffffffL) - limit >> 63);
        int bits = Float.floatToRawIntBits((float) (values[i] * factor));
        values[i] = Float.intBitsToFloat(bits & mask);
      }
    }
  }

  /**
   * Entries drop out at random, small ones more often.
   *
   * @param random which numbers
   * @param columns length of a row, in which magnitudes are ranked
   * @param factor on what stays; 0 divides by the probability of staying
   */
  record RankedDrop(Draw random, int columns, double density, double epsilon, double factor)
      implements VectorStep {
    @Override
    public void apply(Block block, int vector) {
      float[] values = block.values(vector);
      int n = block.length();
      int[] scratch = block.marks();
      double[] probability = new double[n];
      Sparsifiers.Della della = new Sparsifiers.Della(density, epsilon);
      for (int row = 0; row < n; row += columns) {
        della.probabilities(values, row, columns, probability);
      }
      random.numbers(block.from(), n, scratch);
      for (int i = 0; i < n; i++) {
        double by = factor == 0 ? 1 / probability[i] : factor;
        boolean stays = (scratch[i] & 0xffffffffL) * 0x1p-32 < probability[i];
        values[i] = stays ? (float) (values[i] * by) : 0;
      }
    }

    @Override
    public boolean wholeRows() {
      return true;
    }
  }

  /**
   * Random numbers of 32 bits of one vector and tensor, addressed by position within the tensor:
   * where blocks are cut changes nothing.
   *
   * @param seed the merge's seed
   * @param vector {@link TensorScan#identity}
   * @param tensor the tensor's name
   */
  record Draw(long seed, long vector, String tensor) implements Serializable {
    void numbers(long from, int n, int[] into) {
      Philox.of(seed, "merge drop", vector, Philox.hash(tensor)).ints(from, n, into);
    }
  }
}
