package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;

/** Mean binary cross entropy over examples and labels; a label is predicted above one half. */
record MultiLabelObjective(int labels) implements Objective {

  @Override
  public NDArray loss(NDManager step, NDArray outputs, ExampleBatch batch) {
    float[] targets = new float[batch.size() * labels];
    for (int row = 0; row < batch.size(); row++) {
      System.arraycopy(batch.values(row, labels), 0, targets, row * labels, labels);
    }
    NDArray wanted = step.create(targets, new Shape(batch.size(), labels));
    // log(1 + e^x) - x z, which is -z log s(x) - (1-z) log(1 - s(x)) without overflow
    return outputs.getNDArrayInternal().softPlus().sub(outputs.mul(wanted)).mean();
  }

  @Override
  public boolean isMean() {
    return true;
  }

  @Override
  public Evaluation none() {
    return Evaluation.ofLabels(labels);
  }

  @Override
  public Evaluation score(NDArray results, ExampleBatch batch) {
    float[] outputs = results.toFloatArray();
    Evaluation.Counter counter = none().counter();
    for (int row = 0; row < batch.size(); row++) {
      float[] wanted = batch.values(row, labels);
      double loss = 0;
      boolean exact = true;
      for (int label = 0; label < labels; label++) {
        double x = outputs[row * labels + label];
        loss += Math.max(x, 0) - x * wanted[label] + StrictMath.log1p(StrictMath.exp(-Math.abs(x)));
        boolean truth = wanted[label] > 0.5f;
        boolean predicted = x > 0;
        exact &= truth == predicted;
        counter.count(label, (truth ? 2 : 0) + (predicted ? 1 : 0));
      }
      counter.loss(loss / labels);
      counter.count(labels, exact ? 1 : 0);
    }
    return counter.result();
  }
}
