package org.sparkpeft.merge.compress;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;

class TopKSelectionTest {
  static final float[] TAU = {0.9f, -0.1f, 0.4f, -0.8f, 0.05f, 0.0f, 0.3f, -0.6f};

  @Test
  void publishedExampleKeepsExactlyK() {
    assertThat(TopKSelection.indices(TAU, 0, 8, 4)).containsExactly(0, 2, 3, 7);
    assertThat(TopKSelection.indices(TAU, 0, 8, 2)).containsExactly(0, 3);
  }

  @Test
  void densityIsFlooredButNeverToZero() {
    assertThat(TopKSelection.keptCount(0.29, 100)).isEqualTo(29);
    assertThat(TopKSelection.keptCount(0.05, 3072)).isEqualTo(153);
    assertThat(TopKSelection.keptCount(0.001, 7)).isEqualTo(1);
    assertThat(TopKSelection.keptCount(1, 7)).isEqualTo(7);
  }

  @Test
  void zerosOfEitherSignAreNeverKept() {
    float[] values = {0f, -0f, 1f, 0f, -Float.MIN_VALUE};
    assertThat(TopKSelection.indices(values, 0, 5, 5)).containsExactly(2, 4);
    assertThat(TopKSelection.indices(new float[5], 0, 5, 3)).isEmpty();
    assertThat(TopKSelection.indices(values, 0, 5, 0)).isEmpty();
  }

  @ParameterizedTest
  @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY})
  void nonFiniteIsRefusedWithItsPlace(float bad) {
    float[] values = {1, 2, bad, 4};
    assertThatThrownBy(() -> TopKSelection.indices(values, 0, 4, 1))
        .isInstanceOfSatisfying(
            NonFiniteUpdateException.class, e -> assertThat(e.index()).isEqualTo(2))
        .hasMessageContaining("entry 2");
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8})
  void equalsASortOnAdversarialInput(long seed) {
    Philox random = Philox.of(seed, "adversarial");
    int size = 1 + (int) (random.longAt(0) >>> 1) % 700;
    size = Math.max(1, Math.abs(size));
    float[] values = new float[size];
    for (int i = 0; i < size; i++) {
      int pick = Math.floorMod(random.intAt(10 + i), 8);
      values[i] =
          switch (pick) {
            case 0 -> 0f;
            case 1 -> -0f;
            case 2 -> Float.MIN_VALUE * (1 + (i & 3));
            case 3 -> -1.5f;
            case 4 -> 1.5f;
            case 5 -> Math.nextUp(1.5f);
            case 6 -> (float) random.gaussianAt(i);
            default -> seed % 2 == 0 ? 1.5f : -Float.MAX_VALUE;
          };
    }
    for (int k : new int[] {0, 1, 2, size / 3, size / 2, size - 1, size}) {
      if (k >= 0) {
        assertThat(TopKSelection.indices(values, 0, size, k))
            .as("seed %d, k %d of %d", seed, k, size)
            .isEqualTo(bySort(values, k))
            .isEqualTo(TopKSelection.indicesByCounting(values, 0, size, k));
      }
    }
  }

  private static int[] bySort(float[] values, int k) {
    return IntStream.range(0, values.length)
        .boxed()
        .filter(i -> values[i] != 0)
        .sorted(
            Comparator.<Integer>comparingDouble(i -> -Math.abs(values[i]))
                .thenComparing(Comparator.naturalOrder()))
        .limit(k)
        .mapToInt(i -> i)
        .sorted()
        .toArray();
  }

  @Test
  void allEqualKeepsTheFirst() {
    float[] values = new float[100];
    Arrays.fill(values, -2f);
    assertThat(TopKSelection.indices(values, 0, 100, 3)).containsExactly(0, 1, 2);
  }

  @Test
  void perTensorKeepsAShareOfEach() {
    ParameterLayout layout = ParameterLayout.of(Map.of("a", List.of(4), "b", List.of(2, 3)));
    float[] values = {9, 8, 7, 6, 1, 2, 3, -4, 5, 0};
    assertThat(new TopK(0.5, true).positions(values, layout)).containsExactly(0, 1, 6, 7, 8);
    assertThat(new TopK(0.5, false).positions(values, layout)).containsExactly(0, 1, 2, 3, 8);
  }
}
