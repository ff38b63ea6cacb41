package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import org.sparkpeft.core.engine.Scalars;

/**
 * InfoNCE with in-batch negatives (van den Oord et al. 2018, arXiv 1807.03748): cross entropy of
 * each first text's partner among all second texts of the batch, on cosine similarity times 20. One
 * direction only, as in Sentence Transformers' MultipleNegativesRankingLoss.
 */
record ContrastiveObjective() implements Objective {
  /** Inverse temperature. */
  static final float SCALE = 20;

  @Override
  public boolean pairs() {
    return true;
  }

  /**
   * @param outputs unit vectors {@code [2 batch, hidden]}, first texts before second texts
   */
  @Override
  public NDArray loss(NDManager step, NDArray outputs, ExampleBatch batch) {
    NDList halves = outputs.split(2); // [batch, hidden] each
    NDArray scores =
        Scalars.times(halves.get(0).matMul(halves.get(1).transpose()), SCALE); // [batch, batch]
    float[] share = new float[batch.size() * batch.size()];
    for (int row = 0; row < batch.size(); row++) {
      share[row * batch.size() + row] = -1f / batch.size();
    }
    NDArray weights = step.create(share, new Shape(batch.size(), batch.size()));
    return scores.logSoftmax(1).mul(weights).sum();
  }

  @Override
  public Evaluation none() {
    return Evaluation.ofRetrieval();
  }

  @Override
  public Evaluation score(NDArray results, ExampleBatch batch) {
    float[] outputs = results.toFloatArray();
    Evaluation.Counter counter = none().counter();
    int n = batch.size();
    int hidden = outputs.length / (2 * n);
    for (int row = 0; row < n; row++) {
      float[] scores = new float[n];
      for (int other = 0; other < n; other++) {
        double dot = 0;
        for (int i = 0; i < hidden; i++) {
          dot += (double) outputs[row * hidden + i] * outputs[(n + other) * hidden + i];
        }
        scores[other] = (float) (dot * SCALE);
      }
      counter.loss(SoftmaxObjective.crossEntropy(scores, 0, n, row));
      counter.count(0, SoftmaxObjective.argMax(scores, 0, n) == row ? 1 : 0);
    }
    return counter.result();
  }
}
