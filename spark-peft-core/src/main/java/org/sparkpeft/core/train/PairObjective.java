package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.Optional;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;

/**
 * Of two completions of a prompt the chosen one should gain on the rejected one: DPO, IPO and ORPO.
 * Mean over the pairs of a batch.
 */
record PairObjective(PairLoss loss, PreferenceConfig config) implements Objective {

  @Override
  public boolean pairs() {
    return true;
  }

  @Override
  public UnaryOperator<BatchForward> judged(Supplier<BatchForward> reference) {
    boolean compares = loss.hasReference() && !config.referenceFree();
    Optional<BatchForward> other = compares ? Optional.of(reference.get()) : Optional.empty();
    return new SequenceScores(other, SequenceScores.Gradient.BOTH)::over;
  }

  @Override
  public NDArray loss(NDManager step, NDArray outputs, ExampleBatch batch) {
    float[] scores = outputs.toFloatArray();
    float[] slopes = new float[scores.length];
    int size = batch.size();
    double sum = 0;
    for (int row = 0; row < size; row++) {
      PairLoss.Judgement judgement = judge(scores, batch, row);
      sum += judgement.loss();
      slopes[row] = (float) (judgement.byChosen() / size);
      slopes[size + row] = (float) (judgement.byRejected() / size);
    }
    return SequenceScores.differentiable(step, outputs, scores, slopes, sum / size);
  }

  private PairLoss.Judgement judge(float[] scores, ExampleBatch batch, int row) {
    int size = batch.size();
    int prompt = SequenceScores.promptLength(batch, row);
    int index = batch.indices()[row];
    return loss.judge(
        new PairLoss.Pair(
            scores[row],
            scores[size + row],
            scores[2 * size + row],
            scores[3 * size + row],
            batch.source().tokens(index).length - prompt,
            batch.source().pair(index).length - prompt),
        config);
  }

  @Override
  public Evaluation none() {
    return Evaluation.ofPreferences();
  }

  @Override
  public Evaluation score(NDArray outputs, ExampleBatch batch) {
    float[] scores = outputs.toFloatArray();
    Evaluation.Counter counter = none().counter();
    for (int row = 0; row < batch.size(); row++) {
      PairLoss.Judgement judgement = judge(scores, batch, row);
      counter.loss(judgement.loss());
      counter.preferred(judgement.chosenReward(), judgement.rejectedReward());
      counter.reward(true, judgement.chosenReward());
      counter.reward(false, judgement.rejectedReward());
    }
    return counter.result();
  }
}
