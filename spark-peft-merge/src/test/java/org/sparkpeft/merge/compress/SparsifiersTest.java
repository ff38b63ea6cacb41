package org.sparkpeft.merge.compress;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;

class SparsifiersTest {
  private static final Philox RANDOM = Philox.of(7, "test");

  @Test
  void rowsAreChosenOneByOne() {
    ParameterLayout layout = ParameterLayout.of(Map.of("a", List.of(2, 3), "b", List.of(2)));
    float[] values = {1, 2, 3, 30, 20, 10, -5, 4};
    Sparse kept = new Sparsifiers.TopKByRow(0.4).sparsify(values, layout, RANDOM);
    assertThat(kept.toDense(8)).containsExactly(0, 0, 3, 30, 0, 0, -5, 0);
  }

  @Test
  void thresholdKeepsWhatReachesIt() {
    float[] values = {1, -2, 3, 0, 1.999f};
    Sparse kept = new Sparsifiers.Threshold(2).sparsify(values, Vectors.single(5), RANDOM);
    assertThat(kept.toDense(5)).containsExactly(0, -2, 3, 0, 0);
  }

  @Test
  void breadcrumbsLeaveOutTheOutliers() {
    float[] values = {.9f, -.05f, .4f, -.7f, .02f, .3f, -.2f, .1f, .6f, -.01f};
    Sparse kept =
        new Sparsifiers.Breadcrumbs(0.2, 0.1).sparsify(values, Vectors.single(10), RANDOM);
    assertThat(kept.toDense(10)).containsExactly(0, 0, 0, -.7f, 0, 0, 0, 0, .6f, 0);
    Sparse none = new Sparsifiers.Breadcrumbs(0.2, 0).sparsify(values, Vectors.single(10), RANDOM);
    assertThat(none.positions()).containsExactly(0, 3);
    Sparse most =
        new Sparsifiers.Breadcrumbs(0.9, 0.5).sparsify(values, Vectors.single(10), RANDOM);
    assertThat(most.count()).as("fewer outliers go when too few would be left").isEqualTo(9);
  }

  @Test
  void dareRescalesWhatStays() {
    float[] values = Vectors.gaussian(Vectors.single(10_000), 1).toArray();
    Sparse kept = new Sparsifiers.Dare(0.25).sparsify(values, Vectors.single(10_000), RANDOM);
    assertThat(kept.count()).isBetween(2500 - 130, 2500 + 130);
    for (int i = 0; i < kept.count(); i++) {
      assertThat(kept.value(i)).isEqualTo(values[kept.position(i)] * 4);
    }
  }

  @Test
  void dellaKeepsLargeEntriesMoreOften() {
    double[] probability = new double[6];
    float[] values = {9, .1f, -.4f, .3f, .2f, 9};
    new Sparsifiers.Della(0.5, 0.1).probabilities(values, 1, 4, probability);
    assertThat(probability)
        .containsExactly(new double[] {0, .4, .6, 8 / 15.0, 7 / 15.0, 0}, within(1e-12));
    new Sparsifiers.Della(0.5, 0.1).probabilities(values, 0, 1, probability);
    assertThat(probability[0]).isEqualTo(0.5);
  }
}
