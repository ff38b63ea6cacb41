package org.sparkpeft.merge.method;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.sparkpeft.merge.method.Merged.TAUS;
import static org.sparkpeft.merge.method.Merged.vector;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.method.Ties.Convention;

class TiesTest {
  private static void assertMerged(Ties ties, List<Double> weights, float... expected) {
    assertThat(ties.merge(TAUS, weights).toArray()).containsExactly(expected, within(1e-6f));
  }

  @Test
  void twoOfFiveKept() {
    Ties ties = new Ties(0.4, false, 1, Convention.MERGEKIT);
    assertThat(ties.trim(TAUS.get(0)).toArray()).containsExactly(.5f, 0, 0, 0, -.4f);
    assertThat(ties.trim(TAUS.get(1)).toArray()).containsExactly(0, .6f, 0, 0, .4f);
    assertThat(ties.trim(TAUS.get(2)).toArray()).containsExactly(0, .5f, 0, -.3f, 0);
    assertMerged(ties, List.of(1.0, 1.0, 1.0), .5f, .55f, 0, -.3f, .4f);
  }

  @Test
  void threeOfFiveKept() {
    for (Convention convention : List.of(Convention.MERGEKIT, Convention.HF_PEFT)) {
      assertMerged(
          new Ties(0.6, false, 1, convention), List.of(1.0, 1.0, 1.0), .4f, .55f, 0, -.3f, .4f);
    }
  }

  @Test
  void releasedCodeKeepsOneMoreAndTies() {
    assertMerged(
        new Ties(0.6, false, 1, Convention.PAPER),
        List.of(1.0, 1.0, 1.0),
        .4f,
        .55f,
        .05f,
        -.3f,
        .25f);
  }

  @Test
  void weightsMeanDifferentThingsInDifferentPrograms() {
    List<Double> weights = List.of(1.0, 1.0, 2.0);
    assertMerged(
        new Ties(0.6, false, 1, Convention.MERGEKIT), weights, .4f, .533333f, 0, -.3f, .4f);
    assertMerged(new Ties(0.6, false, 1, Convention.HF_PEFT), weights, .4f, .8f, 0, -.6f, .4f);
    assertMerged(new Ties(0.6, false, 1, Convention.SUM), weights, .8f, 1.6f, 0, -.6f, .4f);
    assertThatThrownBy(() -> new Ties(0.6, false, 1, Convention.PAPER).merge(TAUS, weights))
        .hasMessageContaining("no weights");
  }

  @Test
  void onlyRatiosOfWeightsMatterInOurs() {
    Ties ties = new Ties(0.6, false, 1, Convention.MERGEKIT);
    assertThat(ties.merge(TAUS, List.of(0.25, 0.25, 0.5)))
        .isEqualTo(ties.merge(TAUS, List.of(1.0, 1.0, 2.0)));
  }

  @Test
  void lambdaScalesTheResult() {
    assertMerged(
        new Ties(0.4, false, 1.5, Convention.MERGEKIT),
        List.of(1.0, 1.0, 1.0),
        .75f,
        .825f,
        0,
        -.45f,
        .6f);
  }

  @Test
  void zeroSumTakesTheMajoritySignInThePaper() {
    List<TaskVector> vectors = List.of(vector(1, -3, -2), vector(-1, -1, -2));
    assertThat(new Ties(1, false, 1, Convention.PAPER).merge(vectors).toArray())
        .containsExactly(-1, -2, -2);
    assertThat(new Ties(1, false, 1, Convention.MERGEKIT).merge(vectors).toArray())
        .containsExactly(1, -2, -2);
  }

  @Test
  void oneVectorIsOnlyTrimmed() {
    TaskVector tau = Merged.random(1, 4).get(0);
    Ties ties = new Ties(0.3, true, 1, Convention.MERGEKIT);
    assertThat(ties.merge(List.of(tau), List.of(0.37))).isEqualTo(Sparsify.trimPerTensor(tau, 0.3));
  }

  @Test
  void agreeingVectorsGiveTheirMean() {
    List<TaskVector> vectors = List.of(vector(1, -2, 3), vector(2, -4, 1));
    assertThat(new Ties(1, false, 1, Convention.MERGEKIT).merge(vectors))
        .isEqualTo(new Average().merge(vectors));
  }

  @Test
  void foldingOneVectorAtATimeGivesTheSame() {
    List<TaskVector> vectors = Merged.random(5, 8);
    double[] weights = {3, 1, 4, 1.5, 9};
    Ties ties = new Ties(0.4, false, 1, Convention.MERGEKIT);
    double[][] sums = new double[vectors.get(0).size()][4];
    for (int t = 4; t >= 0; t--) {
      TaskVector trimmed = ties.trim(vectors.get(t));
      for (int i = 0; i < sums.length; i++) {
        int side = trimmed.get(i) > 0 ? 0 : 1;
        sums[i][side] += weights[t] * trimmed.get(i);
        sums[i][2 + side] += trimmed.get(i) == 0 ? 0 : weights[t];
      }
    }
    TaskVector merged = ties.merge(vectors, List.of(3.0, 1.0, 4.0, 1.5, 9.0));
    for (int i = 0; i < sums.length; i++) {
      assertThat(Ties.elect(sums[i][0], sums[i][1], sums[i][2], sums[i][3]))
          .isCloseTo(merged.get(i), within(1e-7));
    }
    assertThat(Ties.elect(0, 0, 0, 0)).isZero();
  }
}
