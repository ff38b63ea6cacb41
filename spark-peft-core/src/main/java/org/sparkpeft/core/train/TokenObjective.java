package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import org.sparkpeft.core.error.DataException;

/** Mean cross entropy of one class for each token, over the tokens that count. */
record TokenObjective(int classes) implements Objective {
  /** Label of a token that does not count. */
  static final int IGNORE = -100;

  @Override
  public NDArray loss(NDManager step, NDArray outputs, ExampleBatch batch) {
    int width = batch.tokens().width();
    int counted = 0;
    int[][] labels = new int[batch.size()][];
    for (int row = 0; row < batch.size(); row++) {
      labels[row] = batch.tokenLabels(row, classes);
      for (int label : labels[row]) {
        counted += label == IGNORE ? 0 : 1;
      }
    }
    if (counted == 0) {
      throw new DataException(
          "no token of a batch has a label: example " + batch.indices()[0] + " and others");
    }
    float[] share = new float[batch.size() * width * classes];
    for (int row = 0; row < batch.size(); row++) {
      for (int t = 0; t < labels[row].length; t++) {
        if (labels[row][t] != IGNORE) {
          share[(row * width + t) * classes + labels[row][t]] = -1f / counted;
        }
      }
    }
    NDArray weights = step.create(share, new Shape(batch.size(), width, classes));
    return outputs.logSoftmax(2).mul(weights).sum(); // [batch, seq, classes] -> scalar
  }

  @Override
  public boolean isMean() {
    return true;
  }

  @Override
  public long terms(Outputs outputs, ExampleBatch batch) {
    long counted = 0;
    for (int row = 0; row < batch.size(); row++) {
      for (int label : batch.tokenLabels(row, classes)) {
        counted += label == IGNORE ? 0 : 1;
      }
    }
    return counted;
  }

  @Override
  public Evaluation none() {
    return Evaluation.ofClasses(classes);
  }

  @Override
  public Evaluation score(NDArray results, ExampleBatch batch) {
    float[] outputs = results.toFloatArray();
    Evaluation.Counter counter = none().counter();
    int width = batch.tokens().width();
    for (int row = 0; row < batch.size(); row++) {
      int[] labels = batch.tokenLabels(row, classes);
      for (int t = 0; t < labels.length; t++) {
        if (labels[t] != IGNORE) {
          int at = (row * width + t) * classes;
          counter.loss(SoftmaxObjective.crossEntropy(outputs, at, classes, labels[t]));
          counter.count(labels[t], SoftmaxObjective.argMax(outputs, at, classes));
        }
      }
    }
    return counter.result();
  }
}
