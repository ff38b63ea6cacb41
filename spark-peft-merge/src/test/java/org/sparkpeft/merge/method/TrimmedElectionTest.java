package org.sparkpeft.merge.method;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.random.Philox;

/** Trimming and electing at once changes no bit. */
class TrimmedElectionTest {
  private static final int SIZE = 4099;
  private static final long FROM = 10_000;

  /** Vectors with equal and opposite values among them. */
  private static Block block(int vectors, int n, int seed) {
    Block block = new Block(vectors, SIZE);
    for (int t = 0; t < vectors; t++) {
      float[] values = Philox.of(seed, "values", t).gaussian(n, 0.01);
      for (int i = 0; i < n; i++) {
        float coarse = Math.round(values[i] * 400) / 400f;
        block.values(t)[i] = i % 3 == 0 ? coarse : values[i];
      }
    }
    return block.at(FROM, n);
  }

  private static List<VectorStep> steps(int vectors, float least, long tiesBefore) {
    List<VectorStep> steps = new ArrayList<>();
    for (int t = 0; t < vectors; t++) {
      int key = Float.floatToRawIntBits(least * (1 + 0.25f * t));
      steps.add(new VectorStep.Keep(new KeepRule(key, tiesBefore)));
    }
    return steps;
  }

  private static void trimThenElect(
      Block block, List<VectorStep> steps, double[] weights, float[] out) {
    for (int t = 0; t < weights.length; t++) {
      steps.get(t).apply(block, t);
    }
    Combine.elect(block, weights, Combine.factors(weights, 1), out);
  }

  private static double[] weights(int count, double each) {
    double[] weights = new double[count];
    Arrays.fill(weights, each);
    return weights;
  }

  @ParameterizedTest
  @CsvSource({
    "1, 4099, 0.0125, 1, 99999",
    "2, 4099, 0.0125, 1, 99999",
    "3, 4099, 0.0125, 1, 99999",
    "3, 4099, 0.0125, 0.5, 10000",
    "3, 4096, 0.0125, 4, 9999",
    "3, 3, 0.0300, 1, 99999",
    "4, 1, 0.0125, 1, 10001",
    "6, 4099, 0.0150, 1, 99999"
  })
  void givesTheSameBits(int vectors, int n, float least, double weight, long tiesBefore) {
    List<VectorStep> steps = steps(vectors, least, tiesBefore);
    double[] weights = weights(vectors, weight);
    for (int seed = 0; seed < 20; seed++) {
      float[] expected = new float[n];
      trimThenElect(block(vectors, n, seed), steps, weights, expected);
      Block block = block(vectors, n, seed);
      float[] merged = new float[n];
      assertThat(TrimmedElection.run(block, steps, weights, 1, merged)).isTrue();
      assertThat(bits(merged)).as("seed " + seed).isEqualTo(bits(expected));
      assertThat(block.length()).isEqualTo(n);
    }
  }

  @Test
  void magnitudesFarApartDisagreeToo() {
    Block block = new Block(2, 4).at(0, 4);
    System.arraycopy(new float[] {1e20f, -1e20f, 1e-9f, -0f}, 0, block.values(0), 0, 4);
    System.arraycopy(new float[] {-1e-9f, 1e-9f, -1e-9f, 0f}, 0, block.values(1), 0, 4);
    float[] merged = new float[4];
    assertThat(
            TrimmedElection.run(block, steps(2, 1e-10f, Long.MAX_VALUE), weights(2, 1), 1, merged))
        .isTrue();
    assertThat(bits(merged)).isEqualTo(bits(new float[] {1e20f, -1e20f, 1e-9f, 0}));
  }

  /** Ties end within the block, other weights or factors, no trimming, too much kept, overflow. */
  @Test
  void leavesTheBlockAsItIsWhereItDoesNotHold() {
    List<VectorStep> usual = steps(3, 0.0125f, Long.MAX_VALUE);
    double[] ones = weights(3, 1);
    refuses(block(3, SIZE, 1), steps(3, 0.0125f, FROM + 1), ones, 1);
    refuses(block(3, SIZE, 1), usual, weights(3, 0.3), 1);
    refuses(block(3, SIZE, 1), usual, weights(3, -1), 1);
    refuses(block(3, SIZE, 1), usual, new double[] {1, 1, 2}, 1);
    refuses(block(3, SIZE, 1), usual, ones, 1.5);
    refuses(block(3, SIZE, 1), steps(3, 1e-30f, Long.MAX_VALUE), ones, 1);
    refuses(block(3, SIZE, 1), steps(3, 1e-6f, Long.MAX_VALUE), ones, 1);
    refuses(block(7, SIZE, 1), steps(7, 0.0125f, Long.MAX_VALUE), weights(7, 1), 1);
    List<VectorStep> untrimmed = new ArrayList<>(usual);
    untrimmed.set(1, new VectorStep.None());
    refuses(block(3, SIZE, 1), untrimmed, ones, 1);
    for (float large : new float[] {Float.MAX_VALUE, Float.POSITIVE_INFINITY, Float.NaN}) {
      Block block = block(3, SIZE, 1);
      block.values(2)[77] = large;
      refuses(block, usual, ones, 1);
    }
  }

  private static void refuses(
      Block block, List<VectorStep> steps, double[] weights, double factor) {
    List<float[]> before = new ArrayList<>();
    for (int t = 0; t < block.vectors(); t++) {
      before.add(block.values(t).clone());
    }
    assertThat(TrimmedElection.run(block, steps, weights, factor, new float[SIZE])).isFalse();
    assertThat(block.length()).isEqualTo(SIZE);
    for (int t = 0; t < block.vectors(); t++) {
      assertThat(bits(block.values(t))).isEqualTo(bits(before.get(t)));
    }
  }

  private static int[] bits(float[] values) {
    int[] bits = new int[values.length];
    for (int i = 0; i < bits.length; i++) {
      bits[i] = Float.floatToRawIntBits(values[i]);
    }
    return bits;
  }
}
