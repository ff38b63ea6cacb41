package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.Arrays;
import java.util.Optional;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;

/**
 * A desirable completion should gain on the reference, an undesirable one lose: KTO. Mean over the
 * examples of a batch.
 *
 * <p>An example's pair is its prompt with the completion of another example; the batch's pairs
 * estimate the reference point, without gradient. A pair that is the example itself, as of a client
 * with one example, tells nothing and does not count. An example's value is 1 if it is desirable.
 */
record KtoObjective(PreferenceConfig config) implements Objective {

  @Override
  public boolean pairs() {
    return true;
  }

  @Override
  public UnaryOperator<BatchForward> judged(Supplier<BatchForward> reference) {
    return new SequenceScores(Optional.of(reference.get()), SequenceScores.Gradient.FIRST)::over;
  }

  @Override
  public NDArray loss(NDManager step, NDArray outputs, ExampleBatch batch) {
    float[] scores = outputs.toFloatArray();
    float[] slopes = new float[scores.length];
    double point = point(scores, batch);
    double sum = 0;
    for (int row = 0; row < batch.size(); row++) {
      PairLoss.Value value =
          KtoLoss.of(ratio(scores, batch, row), desirable(batch, row), point, config);
      sum += value.value();
      slopes[row] = (float) (value.slope() / batch.size());
    }
    return SequenceScores.differentiable(step, outputs, scores, slopes, sum / batch.size());
  }

  private static double ratio(float[] scores, ExampleBatch batch, int row) {
    return (double) scores[row] - scores[2 * batch.size() + row];
  }

  private static boolean desirable(ExampleBatch batch, int row) {
    return batch.values(row, 1)[0] > 0.5f;
  }

  private static double point(float[] scores, ExampleBatch batch) {
    double sum = 0;
    int count = 0;
    for (int row = 0; row < batch.size(); row++) {
      int index = batch.indices()[row];
      if (!Arrays.equals(batch.source().tokens(index), batch.source().pair(index))) {
        sum += ratio(scores, batch, batch.size() + row);
        count++;
      }
    }
    return KtoLoss.referencePoint(sum, count);
  }

  @Override
  public Evaluation none() {
    return Evaluation.ofPreferences();
  }

  /** Right is a desirable completion above the reference point, and an undesirable one below. */
  @Override
  public Evaluation score(NDArray outputs, ExampleBatch batch) {
    float[] scores = outputs.toFloatArray();
    double point = point(scores, batch);
    Evaluation.Counter counter = none().counter();
    for (int row = 0; row < batch.size(); row++) {
      double ratio = ratio(scores, batch, row);
      boolean desirable = desirable(batch, row);
      counter.loss(KtoLoss.of(ratio, desirable, point, config).value());
      counter.preferred(desirable ? ratio : point, desirable ? point : ratio);
      counter.reward(desirable, config.beta() * ratio);
    }
    return counter.result();
  }
}
