package org.sparkpeft.merge.method;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.merge.compress.TopKSelection;

/** Shortcuts of election and counting change no bit. */
class SparseElectionTest {
  private static final int SIZE = 1003;

  /** Vectors of which a fraction of entries is not zero, some of them with equal values. */
  private static Block block(int vectors, double density, int seed) {
    Block block = new Block(vectors, SIZE + 5);
    for (int t = 0; t < vectors; t++) {
      float[] values = Philox.of(seed, "values", t).gaussian(SIZE, 1);
      float[] chance = Philox.of(seed, "chance", t).gaussian(SIZE, 1);
      float[] sorted = chance.clone();
      Arrays.sort(sorted);
      float limit = sorted[(int) (SIZE * density)];
      for (int i = 0; i < SIZE; i++) {
        float rounded = Math.round(values[i] * 4) / 4f;
        block.values(t)[i] = chance[i] < limit ? (i % 2 == 0 ? values[i] : rounded) : 0;
      }
    }
    return block.at(0, SIZE);
  }

  private static double[] factors(double[] weights, double lambda) {
    double[] factors = new double[1 << weights.length];
    for (int set = 0; set < factors.length; set++) {
      double sum = 0;
      for (int t = 0; t < weights.length; t++) {
        sum += (set >>> t & 1) != 0 ? weights[t] : 0;
      }
      factors[set] = lambda / (sum == 0 ? 1 : sum);
    }
    return factors;
  }

  @ParameterizedTest
  @CsvSource({
    "2, 0.2, 1, 1, true",
    "3, 0.2, 1, 1, true",
    "5, 0.1, 0.5, 1, true",
    "3, 0.9, 1, 1, false",
    "3, 0.2, 0.3, 1, false",
    "3, 0.2, 1, 1.5, false",
    "3, 0.2, -1, 1, false"
  })
  void givesTheSameBits(
      int vectors, double density, double weight, double lambda, boolean shortcut) {
    double[] weights = new double[vectors];
    Arrays.fill(weights, weight);
    weights[0] *= 2;
    double[] factors = factors(weights, lambda);
    for (int seed = 0; seed < 20; seed++) {
      float[] expected = new float[SIZE];
      Combine.elect(block(vectors, density, seed), weights, factors, expected);
      float[] merged = new float[SIZE];
      Block block = block(vectors, density, seed);
      assertThat(SparseElection.run(block, weights, factors, merged)).isEqualTo(shortcut);
      if (shortcut) {
        assertThat(bits(merged)).as("seed " + seed).isEqualTo(bits(expected));
        assertThat(block.length()).isEqualTo(SIZE);
      }
      float[] whole = new float[SIZE];
      Combine.electByWeight(block(vectors, density, seed), weights, lambda, whole);
      assertThat(bits(whole)).as("seed " + seed).isEqualTo(bits(expected));
    }
  }

  private static int[] bits(float[] values) {
    int[] bits = new int[values.length];
    for (int i = 0; i < bits.length; i++) {
      bits[i] = Float.floatToRawIntBits(values[i]);
    }
    return bits;
  }

  /** Steps that trim count what they keep, and the election need not. */
  @ParameterizedTest
  @CsvSource({"2, 0.2", "3, 0.2", "3, 0.9"})
  void whatTrimmingCountedGivesTheSameBits(int vectors, double density) {
    double[] weights = new double[vectors];
    Arrays.fill(weights, 1);
    Block expected = block(vectors, 0.999, 4);
    List<VectorStep> steps = new ArrayList<>();
    for (int t = 0; t < vectors; t++) {
      int[] kept = TopKSelection.indices(expected.values(t), 0, SIZE, (int) (density * SIZE));
      float least = Float.MAX_VALUE;
      for (int i : kept) {
        least = Math.min(least, Math.abs(expected.values(t)[i]));
      }
      KeepRule rule = new KeepRule(Float.floatToRawIntBits(least), SIZE / 2 + 17);
      rule.apply(expected.values(t), SIZE, 0);
      steps.add(new VectorStep.Keep(rule));
    }
    assertThat(expected.kept()).isNull();
    float[] elected = new float[SIZE];
    Combine.elect(expected, weights, factors(weights, 1), elected);
    float[] found = new float[SIZE];
    List<Double> each = Arrays.stream(weights).boxed().toList();
    Block block = block(vectors, 0.999, 4);
    new BlockPlan(steps, each, Combination.TIES, 1).merge(block, found);
    assertThat(bits(found)).isEqualTo(bits(elected));
  }

  @Test
  void valuesThatAreNotFiniteAreSeenWhereTheyAreCounted() {
    MagnitudeCounts.Window some = MagnitudeCounts.Window.of(1 << 20, (1 << 20) + 9);
    for (MagnitudeCounts.Window window : List.of(MagnitudeCounts.Window.FULL, some)) {
      for (float bad : new float[] {Float.NaN, Float.NEGATIVE_INFINITY}) {
        Block block = new Block(1, 9).at(0, 9);
        MagnitudeCounts counts = new MagnitudeCounts(window);
        block.values(0)[8] = -Float.MAX_VALUE;
        counts.add(block, 0);
        assertThat(counts.areFinite()).isTrue();
        block.values(0)[3] = bad;
        counts.add(block, 0);
        assertThat(counts.areFinite()).isFalse();
      }
    }
  }

  @Test
  void negativeZerosBecomePositive() {
    Block block = new Block(2, 8).at(0, 8);
    Arrays.fill(block.values(0), -0f);
    Arrays.fill(block.values(1), -0f);
    float[] out = new float[8];
    assertThat(SparseElection.run(block, new double[] {1, 1}, new double[] {1, 1, 1, .5}, out))
        .isTrue();
    assertThat(bits(out)).containsOnly(0);
  }

  @Test
  void blocksAreCountedAsValuesAre() {
    for (int n : new int[] {1, 3, 4, 5, SIZE}) {
      Block block = block(1, 0.9, n).at(0, n);
      int low = Float.floatToRawIntBits(0.4f);
      for (int high : new int[] {low, low + 5, Float.floatToRawIntBits(0.8f)}) {
        MagnitudeCounts.Window window = MagnitudeCounts.Window.of(low, high);
        MagnitudeCounts expected = new MagnitudeCounts(window);
        expected.add(block.values(0), n);
        MagnitudeCounts counted = new MagnitudeCounts(window);
        counted.add(block, 0);
        assertThat(counted.above()).isEqualTo(expected.above());
        assertThat(counted.areFinite()).isTrue();
        for (int bin = 0; bin < window.bins(); bin++) {
          assertThat(counted.bin(bin)).as("bin " + bin).isEqualTo(expected.bin(bin));
        }
      }
    }
  }
}
