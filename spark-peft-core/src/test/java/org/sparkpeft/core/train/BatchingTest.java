package org.sparkpeft.core.train;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.random.Philox;

class BatchingTest {
  private static final ListExamples EXAMPLES = ListExamples.random(203, 3, 40, 100, 1);

  private static long padded(List<int[]> batches) {
    long sum = 0;
    for (int[] batch : batches) {
      int longest = 0;
      for (int index : batch) {
        longest = Math.max(longest, EXAMPLES.tokens(index).length);
      }
      sum += (long) longest * batch.length;
    }
    return sum;
  }

  private static int[] seen(List<int[]> batches) {
    return batches.stream().flatMapToInt(Arrays::stream).sorted().toArray();
  }

  @Test
  void everyExampleOnceInAPass() {
    int[] all = new int[203];
    Arrays.setAll(all, i -> i);
    for (boolean buckets : new boolean[] {true, false}) {
      List<int[]> pass = Batching.pass(EXAMPLES, 8, buckets, false, Philox.of(1, "p"));
      assertThat(seen(pass)).isEqualTo(all);
      assertThat(pass).hasSize(26);
    }
    assertThat(seen(Batching.forEvaluation(EXAMPLES, 64, false))).isEqualTo(all);
  }

  @Test
  void bucketsSavePadding() {
    List<int[]> mixed = Batching.pass(EXAMPLES, 8, false, false, Philox.of(1, "p"));
    List<int[]> buckets = Batching.pass(EXAMPLES, 8, true, false, Philox.of(1, "p"));
    assertThat(padded(buckets)).isLessThan(padded(mixed) * 3 / 4);
  }

  @Test
  void evaluationComputesLittlePadding() {
    int tokens = IntStream.range(0, EXAMPLES.size()).map(i -> EXAMPLES.tokens(i).length).sum();
    List<int[]> batches = Batching.forEvaluation(EXAMPLES, 64, false);
    assertThat(padded(batches)).isLessThanOrEqualTo(tokens * 5 / 4);
    assertThat(batches).hasSizeLessThan(EXAMPLES.size() / 4);
  }

  @Test
  void passesDifferAndRepeat() {
    List<int[]> one = Batching.pass(EXAMPLES, 8, true, false, Philox.of(1, "p").child(0));
    List<int[]> again = Batching.pass(EXAMPLES, 8, true, false, Philox.of(1, "p").child(0));
    List<int[]> next = Batching.pass(EXAMPLES, 8, true, false, Philox.of(1, "p").child(1));
    assertThat(Arrays.deepEquals(one.toArray(), again.toArray())).isTrue();
    assertThat(Arrays.deepEquals(one.toArray(), next.toArray())).isFalse();
  }
}
