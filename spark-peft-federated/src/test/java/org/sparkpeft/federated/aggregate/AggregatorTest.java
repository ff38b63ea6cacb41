package org.sparkpeft.federated.aggregate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.BitSet;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/** What every aggregator promises, and the numbers of each. */
class AggregatorTest {
  private static final ParameterLayout TWO = ParameterLayout.of(Map.of("w", List.of(2)));
  private static final ParameterLayout FIVE = ParameterLayout.of(Map.of("w", List.of(5)));

  private static Aggregator aggregator(String method) {
    return Aggregator.of(new AggregateConfig(method, "examples", 0.01, 0.4, 1));
  }

  @ParameterizedTest
  @ValueSource(strings = {"fedavg", "fedprox", "task_arithmetic", "ties"})
  void orderAndTreeShapeDoNotChangeABit(String method) {
    Aggregator aggregator = aggregator(method);
    ParameterLayout layout = ParameterLayout.of(Map.of("a", List.of(7, 31), "b", List.of(3)));
    int[] sizes = {3, 17, 1, 250, 42, 9, 77};
    Aggregator.Cohort cohort = new Aggregator.Cohort(sizes.length, 399);
    TaskVector[] updates = new TaskVector[sizes.length];
    for (int i = 0; i < sizes.length; i++) {
      updates[i] =
          TaskVector.wrap(
              layout, Philox.of(5, "update", i).gaussian(layout.size(), 0.01 * (i + 1)));
    }
    Accumulator straight = aggregator.zero(layout, cohort);
    for (int i = 0; i < sizes.length; i++) {
      straight.add(updates[i], sizes[i]);
    }
    Accumulator left = aggregator.zero(layout, cohort);
    Accumulator right = aggregator.zero(layout, cohort);
    for (int i = sizes.length - 1; i >= 0; i--) {
      (i % 3 == 0 ? left : right).add(updates[i], sizes[i]);
    }
    Accumulator joined = aggregator.fromBytes(right.toBytes(), layout, cohort);
    joined.merge(left);

    assertThat(joined.result()).isEqualTo(straight.result());
    assertThat(joined.count()).isEqualTo(sizes.length);
    assertThat(straight.result().norm()).isPositive();
  }

  @ParameterizedTest
  @ValueSource(strings = {"fedavg", "task_arithmetic", "ties"})
  void unusableUpdatesAreRefusedWhole(String method) {
    for (float bad : new float[] {Float.NaN, Float.POSITIVE_INFINITY, -5000f}) {
      Accumulator sum = aggregator(method).zero(TWO, new Aggregator.Cohort(2, 4));
      assertThatThrownBy(() -> sum.add(TaskVector.of(TWO, new float[] {1, bad}), 2))
          .isInstanceOf(UnusableUpdateException.class)
          .hasMessageContaining("w")
          .hasMessageContaining("4096");
      assertThat(sum.count()).isZero();
      sum.add(TaskVector.of(TWO, new float[] {1, 1}), 2);
      assertThat(sum.result().get(0)).isEqualTo(1f);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"fedavg", "task_arithmetic", "ties"})
  void malformedPartialSumsAreRefused(String method) {
    Aggregator aggregator = aggregator(method);
    Aggregator.Cohort cohort = new Aggregator.Cohort(1, 1);
    byte[] good = aggregator.zero(TWO, cohort).toBytes();
    assertThatThrownBy(
            () -> aggregator.fromBytes(java.util.Arrays.copyOf(good, good.length - 1), TWO, cohort))
        .isInstanceOf(FormatException.class);
    byte[] wrong = good.clone();
    wrong[0] ^= 1;
    assertThatThrownBy(() -> aggregator.fromBytes(wrong, TWO, cohort))
        .isInstanceOf(FormatException.class);
    assertThatThrownBy(() -> aggregator.zero(TWO, cohort).result())
        .isInstanceOf(IllegalStateException.class);
  }

  /** Clients with 10 and 30 examples at (1, 2) and (3, -2), starting from 0. */
  @Test
  void fedAvgWeighsByExamples() {
    Accumulator sum = aggregator("fedavg").zero(TWO, new Aggregator.Cohort(2, 40));
    sum.add(TaskVector.of(TWO, new float[] {1, 2}), 10);
    sum.add(TaskVector.of(TWO, new float[] {3, -2}), 30);
    assertThat(sum.result().toArray()).containsExactly(2.5f, -1f);
  }

  @Test
  void absentClientsDoNotCount() {
    Accumulator sum = aggregator("fedavg").zero(TWO, new Aggregator.Cohort(3, 400));
    sum.add(TaskVector.of(TWO, new float[] {1, 2}), 10);
    sum.add(TaskVector.of(TWO, new float[] {3, -2}), 30);
    assertThat(sum.result().toArray()).containsExactly(new float[] {2.5f, -1f}, within(1e-6f));
  }

  @Test
  void taskArithmeticSums() {
    Accumulator sum =
        Aggregator.of(new AggregateConfig("task_arithmetic", "examples", 0, 1, 0.5))
            .zero(TWO, new Aggregator.Cohort(2, 40));
    sum.add(TaskVector.of(TWO, new float[] {1, 2}), 10);
    sum.add(TaskVector.of(TWO, new float[] {3, -2}), 30);
    assertThat(sum.result().toArray()).containsExactly(2f, 0f);
  }

  /**
   * Two of five entries kept, equal weights: the worked example of the method with the sign from
   * the sum.
   */
  @Test
  void tiesTrimsElectsAndAverages() {
    Accumulator votes = aggregator("ties").zero(FIVE, new Aggregator.Cohort(3, 3));
    votes.add(TaskVector.of(FIVE, new float[] {.5f, -.2f, .05f, 0, -.4f}), 1);
    votes.add(TaskVector.of(FIVE, new float[] {.3f, .6f, -.05f, .2f, .4f}), 1);
    votes.add(TaskVector.of(FIVE, new float[] {-.1f, .5f, .02f, -.3f, .1f}), 1);
    assertThat(votes.result().toArray())
        .containsExactly(new float[] {.5f, .55f, 0, -.3f, .4f}, within(1e-6f));
  }

  private static final ParameterLayout PARTS =
      ParameterLayout.of(Map.of("experts", List.of(3, 2), "w", List.of(2)));

  private static BitSet bits(int... parts) {
    BitSet bits = new BitSet();
    for (int part : parts) {
      bits.set(part);
    }
    return bits;
  }

  @Test
  void aPartIsTheMeanOfThoseWhoTrainedIt() {
    Stretches parts = Stretches.of(PARTS, "experts"::equals);
    assertThat(parts.count()).isEqualTo(3);
    TaskVector first = TaskVector.of(PARTS, new float[] {1, 2, 0, 0, 0, 0, 4, 4});
    TaskVector second = TaskVector.of(PARTS, new float[] {3, 0, 0, 5, 0, 0, 0, 8});
    assertThat(parts.touched(first)).isEqualTo(bits(0));
    assertThat(parts.touched(second)).isEqualTo(bits(0, 1));

    Accumulator sum = aggregator("fedavg").zero(PARTS, new Aggregator.Cohort(2, 40, parts));
    sum.add(first, 10, parts.touched(first));
    sum.add(second, 30, parts.touched(second));
    // (10 x 1 + 30 x 3) / 40; 2 of 10 and 0 of 30; 5 of the second alone; nobody; plain means.
    assertThat(sum.result().toArray()).containsExactly(2.5f, 0.5f, 0, 5, 0, 0, 1, 7);

    // Where everybody trained everything it is the plain mean, to the bit.
    Accumulator all = aggregator("fedavg").zero(PARTS, new Aggregator.Cohort(2, 40, parts));
    Accumulator plain = aggregator("fedavg").zero(PARTS, new Aggregator.Cohort(2, 40));
    for (TaskVector update : List.of(first, second)) {
      all.add(update, 13, parts.all());
      plain.add(update, 13);
    }
    assertThat(all.result()).isEqualTo(plain.result());
  }

  @Test
  void supportDoesNotDependOnOrderOrTreeShape() {
    ParameterLayout layout = ParameterLayout.of(Map.of("a", List.of(7, 31), "b", List.of(5, 3)));
    Stretches parts = Stretches.of(layout, name -> true);
    int clients = 9;
    Aggregator.Cohort cohort = new Aggregator.Cohort(clients, 450, parts);
    Aggregator aggregator = aggregator("fedavg");
    TaskVector[] updates = new TaskVector[clients];
    BitSet[] trained = new BitSet[clients];
    for (int i = 0; i < clients; i++) {
      float[] values = Philox.of(5, "update", i).gaussian(layout.size(), 0.01 * (i + 1));
      trained[i] = BitSet.valueOf(new long[] {Philox.of(6, "parts", i).longAt(0) & 0xFFF});
      updates[i] = TaskVector.wrap(layout, values);
    }
    Accumulator straight = aggregator.zero(layout, cohort);
    Accumulator left = aggregator.zero(layout, cohort);
    Accumulator right = aggregator.zero(layout, cohort);
    for (int i = 0; i < clients; i++) {
      straight.add(updates[i], 10 * (i + 1), trained[i]);
      int back = clients - 1 - i;
      (i % 3 == 0 ? left : right).add(updates[back], 10 * (back + 1), trained[back]);
    }
    Accumulator joined = aggregator.fromBytes(right.toBytes(), layout, cohort);
    joined.merge(left);
    assertThat(joined.result()).isEqualTo(straight.result());
    assertThat(joined.toBytes()).isEqualTo(straight.toBytes());
    assertThatThrownBy(
            () -> aggregator.fromBytes(right.toBytes(), layout, new Aggregator.Cohort(9, 450)))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("partial sums");
  }

  @Test
  void bitsForPartsThatAreNotThereAreRefused() {
    Stretches parts = Stretches.of(PARTS, "experts"::equals);
    assertThat(parts.parts(bits(0, 2).toByteArray())).isEqualTo(bits(0, 2));
    assertThat(parts.parts(new byte[0])).isEqualTo(bits());
    for (byte[] bad : List.of(bits(3).toByteArray(), new byte[2], new byte[1000])) {
      assertThatThrownBy(() -> parts.parts(bad))
          .isInstanceOf(FormatException.class)
          .hasMessageContaining("more than the 3");
    }
    assertThatThrownBy(() -> Stretches.NONE.parts(new byte[] {1}))
        .isInstanceOf(FormatException.class);
  }
}
