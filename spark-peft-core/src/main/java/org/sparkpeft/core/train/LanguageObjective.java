package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.UnaryOperator;
import org.sparkpeft.core.engine.CrossEntropyKernel;
import org.sparkpeft.core.engine.LayerScope;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.error.DataException;

/**
 * Mean cross entropy of words over the tokens that count.
 *
 * @param shifted whether an output predicts the token after it, as in a decoder that reads what it
 *     learns to say; else the token at its own place, as where the decoder's input is shifted
 * @param maxScores scores of words that may be in memory at once; where a batch has more, its
 *     tokens take turns
 */
record LanguageObjective(boolean shifted, long maxScores) implements Objective {

  /** Most scores of words in memory at once, 8 MiB; but those of a token of every example. */
  static final long MAX_SCORES = 1L << 21;

  LanguageObjective(boolean shifted) {
    this(shifted, MAX_SCORES);
  }

  @Override
  public NDArray loss(NDManager step, NDArray outputs, ExampleBatch batch) {
    Shape shape = outputs.getShape(); // [batch, virtual tokens + seq, vocabulary]
    long[] labels = labels((int) shape.get(1), (int) shape.get(2), batch);
    long counted = counted(labels, batch);
    NDArray losses = losses(outputs, labels); // [batch * seq]
    return Scalars.times(losses.sum(), 1f / counted);
  }

  private static long counted(long[] labels, ExampleBatch batch) {
    long counted = Arrays.stream(labels).filter(label -> label != TokenObjective.IGNORE).count();
    if (counted == 0) {
      throw new DataException(
          "no token of a batch has a label: example " + batch.indices()[0] + " and others");
    }
    return counted;
  }

  /**
   * As {@link #loss(NDManager, NDArray, ExampleBatch)}, but where all scores together would be too
   * large, some tokens of every example after the other, each differentiated at once.
   */
  @Override
  public NDArray loss(NDManager step, Outputs outputs, ExampleBatch batch) {
    List<Span> spans = spans(outputs);
    if (spans.size() == 1) {
      return loss(step, outputs.all(), batch);
    }
    int width = (int) outputs.features().getShape().get(1);
    List<UnaryOperator<NDArray>> losses = new ArrayList<>();
    for (Span span : spans) {
      losses.add(features -> loss(outputs.of(features, span), span, width, batch));
    }
    return LayerScope.sum(step, outputs.features(), losses);
  }

  @Override
  public NDArray loss(NDArray some, Span span, int width, ExampleBatch batch) {
    long[] labels = labels(width, (int) some.getShape().get(2), batch);
    long counted = counted(labels, batch);
    return Scalars.times(losses(some, span.of(labels, width)).sum(), 1f / counted);
  }

  @Override
  public List<Span> spans(Outputs outputs) {
    Shape shape = outputs.features().getShape(); // [batch, virtual tokens + seq, hidden]
    int width = (int) shape.get(1);
    int length = (int) Math.max(1, maxScores / (shape.get(0) * outputs.words()));
    List<Span> spans = new ArrayList<>();
    for (int from = 0; from < width; from += length) {
      spans.add(new Span(from, Math.min(width, from + length)));
    }
    return spans;
  }

  /** The cross entropy of every token, {@code [batch * seq]}. */
  private static NDArray losses(NDArray outputs, long[] labels) {
    Shape shape = outputs.getShape();
    NDArray rows = outputs.reshape(shape.get(0) * shape.get(1), shape.get(2));
    return CrossEntropyKernel.shared().apply(rows, labels);
  }

  /**
   * For each output, the class it should predict, or -100.
   *
   * @param rows outputs of an example, virtual tokens included
   */
  private long[] labels(int rows, int classes, ExampleBatch batch) {
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
  public boolean isMean() {
    return true;
  }

  @Override
  public long terms(Outputs outputs, ExampleBatch batch) {
    int width = (int) outputs.features().getShape().get(1);
    long[] labels = labels(width, outputs.words(), batch);
    return Arrays.stream(labels).filter(label -> label != TokenObjective.IGNORE).count();
  }

  @Override
  public Evaluation none() {
    return Evaluation.ofLanguage();
  }

  @Override
  public Evaluation score(NDArray outputs, ExampleBatch batch) {
    Shape shape = outputs.getShape(); // [batch, virtual tokens + seq, vocabulary]
    long[] labels = labels((int) shape.get(1), (int) shape.get(2), batch);
    Evaluation.Counter counter = none().counter();
    count(outputs, labels, counter);
    return counter.result();
  }

  @Override
  public Evaluation score(NDManager step, Outputs outputs, ExampleBatch batch) {
    int width = (int) outputs.features().getShape().get(1);
    long[] labels = labels(width, outputs.words(), batch);
    Evaluation.Counter counter = none().counter();
    for (Span span : spans(outputs)) {
      try (NDManager scratch = step.newSubManager()) {
        outputs.features().attach(scratch);
        NDArray some = outputs.of(outputs.features(), span);
        count(some, span.of(labels, width), counter);
        outputs.features().attach(step);
      }
    }
    return counter.result();
  }

  private static void count(NDArray outputs, long[] labels, Evaluation.Counter counter) {
    float[] losses = losses(outputs, labels).toFloatArray();
    long[] best = outputs.argMax(2).toLongArray();
    for (int i = 0; i < labels.length; i++) {
      if (labels[i] != TokenObjective.IGNORE) {
        counter.loss(losses[i]);
        counter.count(0, best[i] == labels[i] ? 1 : 0);
      }
    }
  }
}
