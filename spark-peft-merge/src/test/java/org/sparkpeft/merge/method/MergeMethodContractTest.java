package org.sparkpeft.merge.method;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.sparkpeft.core.vector.TaskVector;

/** What every method that treats its vectors alike promises. */
class MergeMethodContractTest {
  static Stream<MergeMethod> methods() {
    return Stream.of(
        new Average(),
        new TaskArithmetic(0.4),
        Ties.defaults(),
        new Ties(0.3, true, 1.2, Ties.Convention.HF_PEFT),
        new Ties(0.3, false, 1, Ties.Convention.PAPER),
        new Dare(0.4, 0.5, Combination.LINEAR, Rescale.PROBABILITY, 9),
        new Dare(0.4, 1, Combination.TIES, Rescale.L1, 9),
        new Della(0.5, 0.2, 1.1, Combination.TIES, Rescale.PROBABILITY, 9),
        new Breadcrumbs(0.3, 0.05, 0.4, Combination.LINEAR),
        new PcbMerging(0.2, 1, true),
        new ModelStock(),
        new MultiSlerp(),
        new Breadcrumbs(0.3, 0.05, 0.4, Combination.TIES, true),
        new ConsensusMask(new TaskArithmetic(0.4), 0.4, 2));
  }

  @ParameterizedTest
  @MethodSource("methods")
  void orderDoesNotChangeABit(MergeMethod method) {
    List<TaskVector> vectors = new ArrayList<>(Merged.random(7, 3));
    TaskVector merged = method.merge(vectors);
    Collections.rotate(vectors, 3);
    Collections.swap(vectors, 0, 5);
    assertThat(method.merge(vectors)).isEqualTo(merged);
  }

  @ParameterizedTest
  @MethodSource("methods")
  void inputsStayAsTheyWereAndResultIsFinite(MergeMethod method) {
    List<TaskVector> vectors = Merged.random(3, 5);
    TaskVector merged = method.merge(vectors);
    assertThat(vectors).isEqualTo(Merged.random(3, 5));
    assertThat(merged.layout()).isEqualTo(vectors.get(0).layout());
    assertThat(merged.isFinite()).isTrue();
  }

  @ParameterizedTest
  @MethodSource("methods")
  void zerosMergeToZeros(MergeMethod method) {
    TaskVector zeros = TaskVector.zeros(Merged.random(1, 1).get(0).layout());
    assertThat(method.merge(List.of(zeros, zeros))).isEqualTo(zeros);
  }
}
