package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;

/** Mean cross entropy of one class out of several. */
record SoftmaxObjective(int classes) implements Objective {

  @Override
  public NDArray loss(NDManager step, NDArray outputs, ExampleBatch batch) {
    float[] share = new float[batch.size() * classes];
    for (int row = 0; row < batch.size(); row++) {
      share[row * classes + batch.label(row, classes)] = -1f / batch.size();
    }
    NDArray weights = step.create(share, new Shape(batch.size(), classes));
    return outputs.logSoftmax(1).mul(weights).sum(); // [batch, classes] -> scalar
  }

  @Override
  public boolean isMean() {
    return true;
  }

  @Override
  public Evaluation none() {
    return Evaluation.ofClasses(classes);
  }

  @Override
  public Evaluation score(NDArray results, ExampleBatch batch) {
    float[] outputs = results.toFloatArray();
    Evaluation.Counter counter = none().counter();
    for (int row = 0; row < batch.size(); row++) {
      int label = batch.label(row, classes);
      int best = argMax(outputs, row * classes, classes);
      counter.loss(crossEntropy(outputs, row * classes, classes, label));
      counter.count(label, best);
    }
    return counter.result();
  }

  /** Index of the first largest of {@code length} values from {@code at}. */
  static int argMax(float[] values, int at, int length) {
    int best = 0;
    for (int i = 1; i < length; i++) {
      if (values[at + i] > values[at + best]) {
        best = i;
      }
    }
    return best;
  }

  /** {@code log(sum exp(x)) - x[label]} in double. */
  static double crossEntropy(float[] values, int at, int length, int label) {
    double max = values[at + argMax(values, at, length)];
    double sum = 0;
    for (int i = 0; i < length; i++) {
      sum += StrictMath.exp(values[at + i] - max);
    }
    return StrictMath.log(sum) + max - values[at + label];
  }
}
