package org.sparkpeft.core.peft.sparse;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Comparator;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.random.Philox;

class TopEntriesTest {

  /** With many ties: the scores are small whole numbers. */
  @ParameterizedTest
  @ValueSource(ints = {0, 1, 2, 7, 100, 999, 1000, 1500})
  void areThoseOfSorting(int count) {
    Philox random = Philox.of(3, "scores");
    double[] scores = new double[1000];
    for (int i = 0; i < scores.length; i++) {
      scores[i] = Math.floor(random.doubleAt(i) * 50);
    }
    TopEntries top = new TopEntries(count);
    for (int i = 0; i < scores.length; i++) {
      top.offer(scores[i], i);
    }
    int[] sorted =
        IntStream.range(0, scores.length)
            .boxed()
            .sorted(
                Comparator.comparingDouble((Integer i) -> -scores[i])
                    .thenComparing(Comparator.naturalOrder()))
            .limit(count)
            .mapToInt(Integer::intValue)
            .toArray();
    assertThat(top.take()).containsExactly(sorted);
    assertThat(top.take()).isEmpty();
  }

  @Test
  void sayWhatTheyWillNotTake() {
    TopEntries top = new TopEntries(2);
    assertThat(top.refuses(0)).isFalse();
    top.offer(1, 0);
    top.offer(3, 1);
    assertThat(top.refuses(1)).isTrue(); // the lower index is better
    assertThat(top.refuses(1.5)).isFalse();
    assertThat(new TopEntries(0).refuses(9)).isTrue();
  }
}
