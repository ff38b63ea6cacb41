package org.sparkpeft.merge.method;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/** Blocks may be cut anywhere, and each kernel does what its definition says. */
class BlockwiseMergeTest {
  private static final ParameterLayout LAYOUT =
      ParameterLayout.of(
          Map.of(
              "bias",
              List.of(19),
              "deep",
              List.of(3, 5, 7),
              "scale",
              List.of(),
              "w",
              List.of(23, 11)));

  static Stream<BlockwiseMethod> methods() {
    return Stream.of(
        new Average(),
        new TaskArithmetic(0.4),
        Ties.defaults(),
        new Ties(0.3, true, 1.2, Ties.Convention.HF_PEFT),
        new Ties(0.3, true, 1, Ties.Convention.MERGEKIT),
        new Dare(0.4, 0.5, Combination.LINEAR, Rescale.PROBABILITY, 9),
        new Dare(0.4, 1, Combination.TIES, Rescale.L1, 9),
        new Della(0.5, 0.2, 1.1, Combination.TIES, Rescale.PROBABILITY, 9),
        new Della(0.5, 0.2, 1.1, Combination.LINEAR, Rescale.L1, 9),
        new Breadcrumbs(0.3, 0.05, 0.4, Combination.LINEAR),
        new Breadcrumbs(0.3, 0.05, 0.4, Combination.TIES_SUM),
        new Breadcrumbs(0.3, 0.1, 0.4, Combination.TIES, true),
        new MultiSlerp(),
        new ModelStock());
  }

  /** Values on a coarse grid, as differences of bfloat16 numbers are, so that ties abound. */
  static List<TaskVector> coarse(int count, long seed) {
    List<TaskVector> vectors = new ArrayList<>();
    for (int t = 0; t < count; t++) {
      float[] values = Philox.of(seed, "coarse", t).gaussian(LAYOUT.size(), 1);
      for (int i = 0; i < values.length; i++) {
        values[i] = Math.round(values[i] * 4) / 64f;
      }
      vectors.add(TaskVector.wrap(LAYOUT, values));
    }
    return vectors;
  }

  private static TaskVector merged(BlockwiseMethod method, List<TaskVector> vectors, int block) {
    List<Share> shares = new ArrayList<>();
    for (int t = 0; t < vectors.size(); t++) {
      shares.add(method.share(method instanceof ModelStock ? 1 : 0.3 + 0.1 * t));
    }
    return new InMemoryMerge(method, vectors, shares, block).run();
  }

  @ParameterizedTest
  @MethodSource("methods")
  void blocksChangeNoBit(BlockwiseMethod method) {
    for (int count : new int[] {1, 2, 3, 5, 12}) {
      List<TaskVector> vectors = coarse(count, 11);
      TaskVector whole = merged(method, vectors, 100_000);
      assertThat(whole).isNotEqualTo(TaskVector.zeros(LAYOUT));
      for (int block : new int[] {1, 2, 7, 64}) {
        assertThat(merged(method, vectors, block)).as("blocks of " + block).isEqualTo(whole);
      }
    }
  }

  @Test
  void slerpInBlocksChangesNoBit() {
    List<TaskVector> vectors = coarse(2, 5);
    TaskVector whole = merged(new Slerp(0.3), vectors, 100_000);
    assertThat(merged(new Slerp(0.3), vectors, 7)).isEqualTo(whole);
    assertThatThrownBy(() -> new Slerp(0.3).merge(coarse(3, 5)))
        .hasMessageContaining("needs two vectors");
  }

  @Test
  void consensusInBlocksIsTheMaskOfTaskArithmetic() {
    List<TaskVector> vectors = coarse(4, 7);
    Consensus consensus = new Consensus(0.5, 0.4);
    TaskVector whole = merged(consensus, vectors, 100_000);
    List<Double> weights = List.of(0.3, 0.3 + 0.1, 0.3 + 0.1 * 2, 0.3 + 0.1 * 3);
    assertThat(whole)
        .isEqualTo(new ConsensusMask(new TaskArithmetic(0.5), 0.4, 2).merge(vectors, weights))
        .isNotEqualTo(new TaskArithmetic(0.5).merge(vectors, weights))
        .isNotEqualTo(TaskVector.zeros(LAYOUT));
    assertThat(merged(consensus, vectors, 7)).isEqualTo(whole);
  }

  @Test
  void multiSlerpOfTwoIsSlerpHalfway() {
    TaskVector x = Merged.vector(1, 0, 0);
    TaskVector y = Merged.vector(0, 2, 0);
    float[] expected =
        new Slerp(.5).merge(Merged.vector(1, 0, 0), Merged.vector(0, 1, 0)).toArray();
    float[] merged = new MultiSlerp().merge(List.of(x, y)).toArray();
    // The length is the mean length, 1.5; Slerp interpolates the vectors as they are.
    for (int i = 0; i < 3; i++) {
      assertThat(merged[i]).isCloseTo(1.5f * expected[i], within(1e-6f));
    }
    TaskVector z = Merged.vector(0, 0, 1);
    float third = (float) (Math.sqrt(1 / 3.0) * 4 / 3);
    assertThat(new MultiSlerp().merge(List.of(x, y, z)).toArray())
        .containsExactly(new float[] {third, third, third}, within(1e-6f));
    assertThat(new MultiSlerp().merge(List.of(x, x)).toArray())
        .containsExactly(new float[] {1, 0, 0}, within(1e-6f));
    assertThat(new MultiSlerp().merge(List.of(x, Merged.vector(-1, 0, 0))).toArray())
        .containsExactly(new float[] {0, 0, 0}, within(1e-6f));
    assertThatThrownBy(() -> new MultiSlerp().merge(List.of(x, y), List.of(1.0, -1.0)))
        .hasMessageContaining("0 or above");
  }

  /** TIES with nothing but its definition: trim by sorting, elect, mean of those that agree. */
  @ParameterizedTest
  @CsvSource({"2, false", "3, false", "3, true", "4, true", "11, false"})
  void tiesIsItsDefinition(int count, boolean perTensor) {
    List<TaskVector> vectors = coarse(count, 31);
    Ties ties = new Ties(0.3, perTensor, 1.5, Ties.Convention.MERGEKIT);
    List<Double> weights = new ArrayList<>();
    for (int t = 0; t < count; t++) {
      weights.add(t == 1 ? -0.25 : 0.2 + 0.1 * t);
    }
    TaskVector merged = ties.merge(vectors, weights);
    List<TaskVector> trimmed = vectors.stream().map(ties::trim).toList();
    for (int i = 0; i < LAYOUT.size(); i++) {
      double sum = 0;
      for (int t = 0; t < count; t++) {
        sum += weights.get(t) * trimmed.get(t).get(i);
      }
      double value = 0;
      double by = 0;
      for (int t = 0; t < count; t++) {
        double own = weights.get(t) * trimmed.get(t).get(i);
        if (sum >= 0 ? own > 0 : own < 0) {
          value += own;
          by += weights.get(t);
        }
      }
      double expected = 1.5 * (Math.abs(by) < 1e-8 ? value : value / by);
      if (Math.abs(sum) > 1e-12) {
        assertThat((double) merged.get(i)).isCloseTo(expected, within(1e-6));
      }
    }
  }

  @Test
  void densitiesMayDiffer() {
    List<TaskVector> vectors = coarse(2, 7);
    List<Share> shares = List.of(new Share(1, 0.5, 0, 0), new Share(1, 0.1, 0, 0));
    Ties ties = new Ties(0.2, false, 1, Ties.Convention.MERGEKIT);
    TaskVector merged = new InMemoryMerge(ties, vectors, shares, 64).run();
    TaskVector half = Sparsify.trim(vectors.get(0), 0.5);
    TaskVector tenth = Sparsify.trim(vectors.get(1), 0.1);
    List<Share> whole = List.of(Share.of(1), Share.of(1));
    assertThat(new InMemoryMerge(ties, List.of(half, tenth), whole, 64).run()).isEqualTo(merged);
  }

  @Test
  void breadcrumbsByRowTakeEachRowAlone() {
    ParameterLayout two = ParameterLayout.of(Map.of("w", List.of(2, 10)));
    float[] row = {.9f, -.05f, .4f, -.7f, .02f, .3f, -.2f, .1f, .6f, -.01f};
    float[] values = new float[20];
    for (int i = 0; i < 10; i++) {
      values[i] = row[i];
      values[10 + i] = 10 * row[9 - i];
    }
    TaskVector vector = TaskVector.wrap(two, values);
    TaskVector merged = new Breadcrumbs(.2, .1, 1, Combination.LINEAR, true).merge(List.of(vector));
    float[] expected = new float[20];
    expected[3] = -.7f;
    expected[8] = .6f;
    expected[10 + 6] = -7;
    expected[10 + 1] = 6;
    assertThat(merged.toArray()).containsExactly(expected, within(1e-6f));
  }

  @Test
  void noOutliersLosesNothing() {
    TaskVector vector = coarse(1, 3).get(0);
    TaskVector merged = new Breadcrumbs(0.4, 0, 1, Combination.LINEAR).merge(List.of(vector));
    assertThat(merged).isEqualTo(Sparsify.trimPerTensor(vector, 0.4));
  }

  @Test
  void dropsBelongToTheVectorAndTheTensor() {
    List<TaskVector> vectors = coarse(3, 17);
    Dare dare = new Dare(0.5, 1, Combination.LINEAR, Rescale.PROBABILITY, 4);
    TaskVector alone = dare.merge(List.of(vectors.get(1)));
    TaskVector sum = dare.merge(vectors);
    TaskVector others = dare.merge(List.of(vectors.get(2), vectors.get(0)));
    for (int i = 0; i < LAYOUT.size(); i++) {
      assertThat(sum.get(i)).isCloseTo(alone.get(i) + others.get(i), within(1e-6f));
    }
    assertThat(dare.merge(List.of(vectors.get(1)))).isEqualTo(alone);
    assertThat(new Dare(0.5, 1, Combination.LINEAR, Rescale.PROBABILITY, 5).merge(vectors))
        .isNotEqualTo(sum);
  }

  @Test
  void numbersThatAreNotFiniteAreRefused() {
    float[] values = new float[LAYOUT.size()];
    values[LAYOUT.entry("w").offset() + 5] = Float.NaN;
    TaskVector bad = TaskVector.wrap(LAYOUT, values);
    for (BlockwiseMethod method :
        List.of(new TaskArithmetic(1), new Ties(1, true, 1, Ties.Convention.MERGEKIT))) {
      assertThatThrownBy(() -> method.merge(List.of(bad, bad)))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("finite");
    }
    assertThatThrownBy(() -> new TaskArithmetic(1).merge(List.of(bad)))
        .hasMessageContaining("entry 5 of w is NaN");
  }

  @Test
  void sharesAreChecked() {
    assertThatThrownBy(() -> new Share(1, 0, 0, 0))
        .hasMessageContaining("density must be in (0, 1]");
    assertThatThrownBy(() -> new Share(1, 1.5, 0, 0)).hasMessageContaining("got 1.5");
    assertThatThrownBy(() -> new Share(Double.NaN, 1, 0, 0)).hasMessageContaining("weight");
    assertThatThrownBy(() -> new Della(0.9, 0.2, 1, Combination.TIES, Rescale.L1, 1))
        .hasMessageContaining("density +- epsilon");
  }
}
