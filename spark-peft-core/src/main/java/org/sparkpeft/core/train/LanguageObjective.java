package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.Arrays;
import org.sparkpeft.core.engine.CrossEntropyKernel;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.DataException;

/**
 * Mean cross entropy of words over the tokens that count.
 *
 * @param shifted whether an output predicts the token after it, as in a decoder that reads what it
 *     learns to say; else the token at its own place, as where the decoder's input is shifted
 */
record LanguageObjective(boolean shifted) implements Objective {

  @Override
  public NDArray loss(NDManager step, NDArray outputs, ExampleBatch batch) {
    long[] labels = labels(outputs, batch);
    long counted = Arrays.stream(labels).filter(label -> label != TokenObjective.IGNORE).count();
    if (counted == 0) {
      throw new DataException(
          "no token of a batch has a label: example " + batch.indices()[0] + " and others");
    }
    NDArray losses = losses(outputs, labels); // [batch * seq]
    return Scalars.times(losses.sum(), 1f / counted);
  }

  /** The cross entropy of every token, {@code [batch * seq]}. */
  private static NDArray losses(NDArray outputs, long[] labels) {
    Shape shape = outputs.getShape();
    NDArray rows = outputs.reshape(shape.get(0) * shape.get(1), shape.get(2));
    return CrossEntropyKernel.shared().apply(rows, labels);
  }

  /** For each output, the class it should predict, or -100. */
  private long[] labels(NDArray outputs, ExampleBatch batch) {
    Shape shape = outputs.getShape(); // [batch, virtual tokens + seq, vocabulary]
    int rows = (int) shape.get(1);
    int classes = (int) shape.get(2);
    int inFront = rows - batch.outputWidth();
    long[] labels = new long[batch.size() * rows];
    Arrays.fill(labels, TokenObjective.IGNORE);
    for (int row = 0; row < batch.size(); row++) {
      int[] wanted = batch.tokenLabels(row, classes);
      for (int t = 0; t < wanted.length; t++) {
        int at = inFront + t - (shifted ? 1 : 0);
        if (at >= 0) {
          labels[row * rows + at] = wanted[t];
        }
      }
    }
    return labels;
  }

  @Override
  public Evaluation none() {
    return Evaluation.ofLanguage();
  }

  @Override
  public Evaluation score(NDArray outputs, ExampleBatch batch) {
    long[] labels = labels(outputs, batch);
    float[] losses = losses(outputs, labels).toFloatArray();
    long[] best = outputs.argMax(2).toLongArray();
    Evaluation.Counter counter = none().counter();
    for (int i = 0; i < labels.length; i++) {
      if (labels[i] != TokenObjective.IGNORE) {
        counter.loss(losses[i]);
        counter.count(0, best[i] == labels[i] ? 1 : 0);
      }
    }
    return counter.result();
  }
}
