package org.sparkpeft.merge.method;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.sparkpeft.merge.method.Merged.vector;

import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.core.vector.TaskVector;

class FurtherMethodsTest {
  private static void close(TaskVector actual, double tolerance, float... expected) {
    assertThat(actual.toArray()).containsExactly(expected, within((float) tolerance));
  }

  @Test
  void breadcrumbsDropOutliersAndCrumbs() {
    TaskVector row = vector(.9f, -.05f, .4f, -.7f, .02f, .3f, -.2f, .1f, .6f, -.01f);
    close(
        new Breadcrumbs(.2, .1, .4, Combination.LINEAR).merge(List.of(row)),
        1e-6,
        0,
        0,
        0,
        -.28f,
        0,
        0,
        0,
        0,
        .24f,
        0);
  }

  @Test
  void pcbWithoutClamp() {
    TaskVector one = vector(.5f, .4f, -.3f, .2f, .1f, 0);
    TaskVector two = vector(.1f, .3f, .4f, -.2f, .5f, 0);
    close(new PcbMerging(.5, 1, false).merge(List.of(one, two)), 1e-6, .5f, .375811f, 0, 0, .5f, 0);
    close(new PcbMerging(.5, 1, true).merge(List.of(one, two)), 1e-6, .4f, .383538f, 0, 0, .4f, 0);
  }

  @Test
  void pcbOfEqualVectorsIsThatVectorWhereItSurvives() {
    TaskVector tau = Merged.random(1, 2).get(0);
    TaskVector merged = new PcbMerging(.3, 1, false).merge(List.of(tau, tau));
    int survivors = 0;
    for (int i = 0; i < tau.size(); i++) {
      if (merged.get(i) != 0) {
        survivors++;
        assertThat(merged.get(i)).isCloseTo(tau.get(i), within(1e-6f));
      }
    }
    int size = tau.size();
    assertThat(survivors).isEqualTo(size - (int) Math.floor(size * .7 + 1e-9) - 1);
  }

  @Test
  void dareIsRightOnAverage() {
    TaskVector tau = vector(.5f, -.2f, .05f, 0, -.4f);
    int runs = 10_000;
    double[] mean = new double[5];
    for (int seed = 0; seed < runs; seed++) {
      Dare dare = new Dare(.25, 1, Combination.LINEAR, Rescale.PROBABILITY, seed);
      TaskVector merged = dare.merge(List.of(tau));
      for (int i = 0; i < 5; i++) {
        assertThat(merged.get(i) == 0 || merged.get(i) == 4 * tau.get(i)).isTrue();
        mean[i] += merged.get(i) / (double) runs;
      }
    }
    for (int i = 0; i < 5; i++) {
      // One standard error is |v| sqrt((1 - p) / p / runs).
      double three = 3 * Math.abs(tau.get(i)) * Math.sqrt(3.0 / runs);
      assertThat(mean[i]).isCloseTo(tau.get(i), within(three + 1e-12));
    }
  }

  @Test
  void normRescalingRestoresTheTensorsSize() {
    TaskVector before = vector(.4f, -.2f, .1f, .3f);
    List<TaskVector> kept =
        IntStream.range(0, 200)
            .mapToObj(seed -> new Dare(.5, 1, Combination.LINEAR, Rescale.L1, seed))
            .map(dare -> dare.merge(List.of(before)))
            .filter(v -> v.get(0) != 0 && v.get(1) == 0 && v.get(2) != 0 && v.get(3) == 0)
            .toList();
    assertThat(kept).isNotEmpty();
    kept.forEach(merged -> close(merged, 1e-6, .8f, 0, .2f, 0));
    TaskVector tau = Merged.random(1, 6).get(0);
    TaskVector merged = new Dare(.5, 1, Combination.LINEAR, Rescale.L1, 3).merge(List.of(tau));
    double all = 0;
    double remaining = 0;
    for (int i = tau.layout().entry("b").offset(); i < tau.layout().entry("b").end(); i++) {
      all += Math.abs(tau.get(i));
      remaining += Math.abs(merged.get(i));
    }
    assertThat(remaining).isCloseTo(all, within(1e-5));
  }

  @Test
  void withoutRescalingValuesStayAsTheyAre() {
    TaskVector tau = Merged.random(1, 6).get(0);
    for (BlockwiseMethod method :
        List.of(
            new Dare(.5, 1, Combination.LINEAR, Rescale.NONE, 3),
            new Della(.5, .2, 1, Combination.LINEAR, Rescale.NONE, 3))) {
      TaskVector merged = method.merge(List.of(tau));
      int kept = 0;
      for (int i = 0; i < tau.size(); i++) {
        assertThat(merged.get(i)).isIn(0f, tau.get(i));
        kept += merged.get(i) == 0 ? 0 : 1;
      }
      assertThat(kept).isBetween(tau.size() / 3, tau.size() * 2 / 3);
    }
  }

  @Test
  void dareTiesElectsAndAverages() {
    List<TaskVector> vectors = List.of(vector(1, -3, -2), vector(2, -1, 1));
    Dare all = new Dare(1, 1, Combination.TIES, Rescale.PROBABILITY, 0);
    close(all.merge(vectors), 0, 1.5f, -2, -2);
  }

  @Test
  void fisherWeighsByInformation() {
    List<TaskVector> values = List.of(vector(2, 1), vector(4, 5));
    List<TaskVector> fishers = List.of(vector(1, 4), vector(3, 0));
    List<Double> equal = List.of(1.0, 1.0);
    close(new FisherMerging(false, 1e-6).merge(values, fishers, equal), 1e-5, 3.5f, 1);
    close(FisherMerging.defaults().merge(values, fishers, equal), 1e-5, 3.609612f, 1);
    assertThatThrownBy(
            () ->
                FisherMerging.defaults().merge(values, List.of(vector(1, 1), vector(-1, 1)), equal))
        .hasMessageContaining("mean of squares");
  }

  @Test
  void slerpMovesOnTheArc() {
    TaskVector x = vector(1, 0);
    TaskVector y = vector(0, 2);
    close(new Slerp(.5).merge(x, y), 1e-6, .707107f, 1.414214f);
    close(new Slerp(.25).merge(x, y), 1e-6, .923880f, .765367f);
    close(new Slerp(.25).merge(x, vector(3, 0)), 1e-6, 1.5f, 0);
    close(new Slerp(.5).merge(x, vector(-1, 0)), 1e-6, 0, 0);
    close(new Slerp(.5).merge(x, vector(0, 0)), 1e-6, .5f, 0);
  }

  @Test
  void modelStockPullsDisagreementToTheBase() {
    assertThat(ModelStock.ratio(2, .5)).isCloseTo(2 / 3.0, within(1e-12));
    close(new ModelStock().merge(List.of(vector(1, 0), vector(0, 1))), 0, 0, 0);
    close(new ModelStock().merge(List.of(vector(1, 2), vector(1, 2))), 1e-6, 1, 2);
    float h = (float) Math.sqrt(.75);
    close(new ModelStock().merge(List.of(vector(1, 0), vector(.5f, h))), 1e-6, .75f * 2 / 3, h / 3);
  }

  @Test
  void consensusDropsWhatOneTaskNeeds() {
    List<TaskVector> vectors = List.of(vector(1, 1, .1f, 0), vector(1, 0, .1f, 0));
    TaskArithmetic sum = new TaskArithmetic(1);
    close(new ConsensusMask(sum, .5, 2).merge(vectors), 1e-6, 2, 0, .2f, 0);
    close(new ConsensusMask(sum, .5, 1).merge(vectors), 1e-6, 2, 1, .2f, 0);
    assertThat(ConsensusMask.mask(vectors.get(0), vector(4, 1, 0, 0), .5))
        .containsExactly(false, true, true, false);
  }

  @Test
  void trajectoriesAverage() {
    ParameterVector a = ParameterVector.of(vector(0, 0).layout(), new float[] {1, 4});
    ParameterVector b = ParameterVector.of(a.layout(), new float[] {3, 0});
    ParameterVector c = ParameterVector.of(a.layout(), new float[] {5, 2});
    assertThat(RunningAverage.uniform(a).plus(b).plus(c).result().toArray())
        .containsExactly(new float[] {3, 2}, within(1e-6f));
    RunningAverage ema = RunningAverage.exponential(a, .75).plus(b).plus(c);
    assertThat(ema.result().toArray()).containsExactly(2.375f, 2.75f);
    assertThat(ema.count()).isEqualTo(3);
  }
}
