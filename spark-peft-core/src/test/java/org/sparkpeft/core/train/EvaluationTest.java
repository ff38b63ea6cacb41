package org.sparkpeft.core.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.ndarray.NDManager;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.random.Philox;

class EvaluationTest {
  private static Evaluation score(Objective objective, float[] outputs, ExampleBatch batch) {
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      return objective.score(manager.create(outputs), batch);
    }
  }

  private static final Offset<Double> TINY = Offset.offset(1e-9);

  /** Truth rows, prediction columns: [[3,1,0],[1,2,1],[0,0,4]]. */
  private static Evaluation threeClasses() {
    Evaluation.Counter counter = Evaluation.ofClasses(3).counter();
    int[][] counts = {{3, 1, 0}, {1, 2, 1}, {0, 0, 4}};
    for (int t = 0; t < 3; t++) {
      for (int p = 0; p < 3; p++) {
        for (int i = 0; i < counts[t][p]; i++) {
          counter.loss(0.25);
          counter.count(t, p);
        }
      }
    }
    return counter.result();
  }

  @Test
  void classification() {
    Evaluation e = threeClasses();
    assertThat(e.items()).isEqualTo(12);
    assertThat(e.loss()).isEqualTo(0.25);
    assertThat(e.accuracy()).isCloseTo(0.75, TINY);
    // F1: 6/8, 4/7, 8/9
    assertThat(e.macroF1()).isCloseTo((0.75 + 4 / 7.0 + 8 / 9.0) / 3, TINY);
    assertThat(e.microF1()).isCloseTo(0.75, TINY);
    // (c s - sum p t) / sqrt((s^2 - sum p^2)(s^2 - sum t^2)), p = (4,3,5), t = (4,4,4)
    assertThat(e.mcc()).isCloseTo((9 * 12 - 48) / Math.sqrt((144 - 50.0) * (144 - 48)), TINY);
    assertThat(e.metrics()).containsOnlyKeys("loss", "accuracy", "macro_f1", "mcc");
  }

  @Test
  void classesThatNeverOccurDoNotCount() {
    Evaluation.Counter counter = Evaluation.ofClasses(5).counter();
    counter.loss(0);
    counter.count(1, 1);
    assertThat(counter.result().macroF1()).isEqualTo(1);
    assertThat(counter.result().mcc()).isZero();
  }

  @Test
  void severalLabels() {
    MultiLabelObjective objective = new MultiLabelObjective(2);
    ListExamples examples =
        new ListExamples()
            .addValues(new int[] {1}, 1, 0)
            .addValues(new int[] {1}, 1, 1)
            .addValues(new int[] {1}, 0, 1);
    ExampleBatch batch = ExampleBatch.of(examples, new int[] {0, 1, 2}, false, 0);
    Evaluation e = score(objective, new float[] {2, -1, 1, -3, 4, 0.5f}, batch);
    // label 0: tp 2, fp 1; label 1: tp 1, fn 1
    assertThat(e.macroF1()).isCloseTo((0.8 + 2 / 3.0) / 2, TINY);
    assertThat(e.microF1()).isCloseTo(6 / 8.0, TINY);
    assertThat(e.accuracy()).isCloseTo(1 / 3.0, TINY);
  }

  @Test
  void values() {
    ListExamples examples = new ListExamples();
    float[] truth = {1, 2, 4, -3};
    float[] predicted = {1.5f, 2, 3, -1};
    for (float y : truth) {
      examples.addValues(new int[] {1}, y);
    }
    Evaluation e =
        score(
            new RegressionObjective(1),
            predicted,
            ExampleBatch.of(examples, new int[] {0, 1, 2, 3}, false, 0));
    assertThat(e.loss()).isCloseTo((0.25 + 0 + 1 + 4) / 4, Offset.offset(1e-6));
    double my = 1;
    double mp = 1.375;
    double cov = 0;
    double vy = 0;
    double vp = 0;
    for (int i = 0; i < 4; i++) {
      cov += (truth[i] - my) * (predicted[i] - mp);
      vy += (truth[i] - my) * (truth[i] - my);
      vp += (predicted[i] - mp) * (predicted[i] - mp);
    }
    assertThat(e.pearson()).isCloseTo(cov / Math.sqrt(vy * vp), TINY);
  }

  @Test
  void mergingPartsInAnyOrderGivesTheWhole() {
    Philox random = Philox.of(2, "merge");
    RegressionObjective objective = new RegressionObjective(1);
    Evaluation whole = objective.none();
    Evaluation backwards = objective.none();
    Evaluation[] parts = new Evaluation[20];
    for (int i = 0; i < parts.length; i++) {
      ListExamples one =
          new ListExamples().addValues(new int[] {1}, (float) random.gaussianAt(2 * i) * 1e5f);
      float[] out = {(float) random.gaussianAt(2 * i + 1) * 1e-5f};
      parts[i] = score(objective, out, ExampleBatch.of(one, new int[] {0}, false, 0));
      whole = whole.merge(parts[i]);
    }
    for (int i = parts.length - 1; i >= 0; i--) {
      backwards = parts[i].merge(backwards);
    }
    assertThat(backwards).isEqualTo(whole);
    assertThat(backwards.pearson()).isEqualTo(whole.pearson());
    assertThat(threeClasses().merge(threeClasses()).accuracy()).isEqualTo(0.75);
    Evaluation other = Evaluation.ofClasses(2);
    assertThatThrownBy(() -> threeClasses().merge(other))
        .isInstanceOf(IllegalArgumentException.class);
  }
}
