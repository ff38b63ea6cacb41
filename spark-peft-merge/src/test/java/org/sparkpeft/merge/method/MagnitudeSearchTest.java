package org.sparkpeft.merge.method;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.merge.compress.TopKSelection;

class MagnitudeSearchTest {

  private static float[] values(int size, long seed, boolean coarse) {
    float[] values = Philox.of(seed, "search").gaussian(size, 1);
    for (int i = 0; coarse && i < size; i++) {
      values[i] = Math.round(values[i] * 8) / 128f;
    }
    return values;
  }

  private static KeepRule find(MagnitudeSearch search, float[] values, int parts) {
    while (!search.isFound()) {
      MagnitudeCounts sum = new MagnitudeCounts(search.window());
      for (int p = 0; p < parts; p++) {
        int from = (int) ((long) values.length * p / parts);
        int to = (int) ((long) values.length * (p + 1) / parts);
        MagnitudeCounts part = new MagnitudeCounts(search.window());
        part.add(Arrays.copyOfRange(values, from, to), to - from);
        sum.add(part.part());
      }
      search.narrow(sum);
    }
    if (search.keepsAllTies()) {
      return search.rule(Long.MAX_VALUE);
    }
    return search.rule(
        MagnitudeSearch.afterTie(values, values.length, search.key(), search.ties()));
  }

  private static int[] kept(KeepRule rule, float[] values) {
    float[] copy = values.clone();
    rule.apply(copy, copy.length, 0);
    int[] positions = new int[copy.length];
    int n = 0;
    for (int i = 0; i < copy.length; i++) {
      if (copy[i] != 0) {
        assertThat(copy[i]).isEqualTo(values[i]);
        positions[n++] = i;
      }
    }
    return Arrays.copyOf(positions, n);
  }

  @ParameterizedTest
  @CsvSource({"1, false", "50, false", "2000, true", "9999, true", "10000, false", "7000, true"})
  void findsWhatSortingFinds(int k, boolean coarse) {
    for (long seed = 1; seed <= 5; seed++) {
      float[] values = values(10_000, seed, coarse);
      int[] expected = TopKSelection.indices(values, 0, values.length, k);
      KeepRule rule = find(new MagnitudeSearch(k), values, 3);
      assertThat(kept(rule, values)).as("seed " + seed).isEqualTo(expected);
      float[] rest = values.clone();
      int[] bits = new int[rest.length];
      Arrays.setAll(bits, i -> Float.floatToRawIntBits(rest[i]));
      rule.drop(bits, bits.length, 0);
      for (int i = 0; i < bits.length; i++) {
        rest[i] = Float.intBitsToFloat(bits[i]);
      }
      assertThat(kept(KeepRule.ALL, rest).length + expected.length)
          .isEqualTo(kept(KeepRule.ALL, values).length);
    }
  }

  @Test
  void aGoodSampleSavesAPassAndABadOneCostsOne() {
    float[] values = values(200_000, 3, false);
    int[] expected = TopKSelection.indices(values, 0, values.length, 40_000);
    MagnitudeSearch good = new MagnitudeSearch(40_000);
    good.startAt(Arrays.copyOf(values, 20_000), 0.2);
    assertThat(good.window()).isNotEqualTo(MagnitudeCounts.Window.FULL);
    assertThat(kept(find(good, values, 2), values)).isEqualTo(expected);
    for (float wrong : new float[] {1e-6f, 100}) {
      float[] sample = values(5000, 4, false);
      for (int i = 0; i < sample.length; i++) {
        sample[i] *= wrong;
      }
      MagnitudeSearch bad = new MagnitudeSearch(40_000).startAt(sample, 0.2);
      assertThat(bad.window()).isNotEqualTo(MagnitudeCounts.Window.FULL);
      assertThat(kept(find(bad, values, 2), values)).isEqualTo(expected);
    }
  }

  @Test
  void nothingAndZerosAndTooMany() {
    float[] values = {0, -0f, 3, 0, -1};
    assertThat(kept(find(new MagnitudeSearch(0), values, 1), values)).isEmpty();
    assertThat(kept(find(new MagnitudeSearch(4), values, 2), values)).containsExactly(2, 4);
    assertThat(find(new MagnitudeSearch(4), values, 1)).isEqualTo(KeepRule.ALL);
    assertThat(MagnitudeSearch.keptCount(0.29, 100)).isEqualTo(29);
    assertThat(MagnitudeSearch.keptCount(0.001, 10)).isEqualTo(1);
    assertThat(MagnitudeSearch.keptCount(0.5, 6_000_000_000L)).isEqualTo(3_000_000_000L);
    assertThatThrownBy(() -> MagnitudeSearch.keptCount(0, 10)).hasMessageContaining("got 0.0");
  }

  @Test
  void rulesMoveWithTheTensor() {
    float[] values = {1, 1, 1, 1, 1, 1};
    KeepRule rule = new KeepRule(Float.floatToRawIntBits(1), 4);
    float[] tail = {1, 1, 1, 1};
    rule.from(2).apply(tail, 4, 0);
    assertThat(tail).containsExactly(1, 1, 0, 0);
    rule.apply(values, 6, 0);
    assertThat(values).containsExactly(1, 1, 1, 1, 0, 0);
    float[] later = {1, 1};
    rule.apply(later, 2, 3);
    assertThat(later).containsExactly(1, 0);
  }

  @Test
  void infinityIsNotAMagnitude() {
    float[] values = {1, Float.POSITIVE_INFINITY, 2};
    assertThatThrownBy(() -> find(new MagnitudeSearch(1), values, 1))
        .hasMessageContaining("not finite");
  }
}
