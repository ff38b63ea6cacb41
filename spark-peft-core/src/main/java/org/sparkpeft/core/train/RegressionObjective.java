package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;

/** Mean squared error over examples and values. */
record RegressionObjective(int outputsPerExample) implements Objective {

  @Override
  public NDArray loss(NDManager step, NDArray outputs, ExampleBatch batch) {
    int count = outputsPerExample;
    float[] targets = new float[batch.size() * count];
    for (int row = 0; row < batch.size(); row++) {
      System.arraycopy(batch.values(row, count), 0, targets, row * count, count);
    }
    NDArray wanted = step.create(targets, new Shape(batch.size(), count));
    return outputs.sub(wanted).square().mean();
  }

  @Override
  public boolean isMean() {
    return true;
  }

  @Override
  public Evaluation none() {
    return Evaluation.ofValues();
  }

  @Override
  public Evaluation score(NDArray results, ExampleBatch batch) {
    float[] outputs = results.toFloatArray();
    Evaluation.Counter counter = none().counter();
    for (int row = 0; row < batch.size(); row++) {
      float[] wanted = batch.values(row, outputsPerExample);
      double loss = 0;
      for (int i = 0; i < outputsPerExample; i++) {
        double predicted = outputs[row * outputsPerExample + i];
        loss += (predicted - wanted[i]) * (predicted - wanted[i]);
        counter.value(wanted[i], predicted);
      }
      counter.loss(loss / outputsPerExample);
    }
    return counter.result();
  }
}
