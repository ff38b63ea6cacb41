package org.sparkpeft.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.stream.IntStream;
import org.sparkpeft.core.engine.CrossEntropyKernel;
import org.sparkpeft.core.engine.GradientScope;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.peft.TuningContext;

/**
 * Turns a language model's outputs for pairs of texts into the log-probabilities of what follows
 * the prompt: {@code [4 * batch]}, those of the first texts and of the second under the policy,
 * then both under the reference (0 without one). Each is a float32 sum over the tokens.
 *
 * <p>An example's tokens and pair start with the same number of prompt tokens, which is its class.
 * What the reference says of an example is computed once, without gradient and without dropout, and
 * kept: one object is for the examples of one call.
 */
final class SequenceScores {
  /** What the policy's gradient goes through. */
  enum Gradient {
    BOTH,
    FIRST
  }

  private final Optional<BatchForward> reference;
  private final Gradient gradient;
  private final Map<Integer, float[]> known = new HashMap<>();

  SequenceScores(Optional<BatchForward> reference, Gradient gradient) {
    this.reference = reference;
    this.gradient = gradient;
  }

  /** The scores that go with a policy. */
  BatchForward over(BatchForward policy) {
    return (step, views, batch, context) -> {
      NDArray referenceScores = referenceScores(step, batch);
      NDArray scores =
          gradient == Gradient.BOTH
              ? sums(policy.outputs(step, views, batch, context).all(), batch, 0)
              : halves(step, views, batch, context, policy);
      return Outputs.of(NDArrays.concat(new NDList(scores, referenceScores)));
    };
  }

  /** The first texts with a gradient, the second without. */
  private static NDArray halves(
      NDManager step,
      Map<String, NDArray> views,
      ExampleBatch batch,
      TuningContext context,
      BatchForward policy) {
    ExampleBatch first = half(batch, 0);
    ExampleBatch second = half(batch, 1);
    TuningContext own =
        new TuningContext(
            context.manager(),
            context.training(),
            context.random(),
            first.tokens(),
            context.probes(),
            context.lossTerms());
    NDArray trained = sums(policy.outputs(step, views, first, own).all(), batch, 0);
    return NDArrays.concat(new NDList(trained, step.create(constant(step, views, second, policy))));
  }

  private static float[] constant(
      NDManager step, Map<String, NDArray> views, ExampleBatch second, BatchForward policy) {
    try (GradientScope off = GradientScope.paused();
        NDManager scratch = step.newSubManager()) {
      Outputs outputs =
          policy.outputs(scratch, views, second, TuningContext.inference(scratch, second.tokens()));
      return sums(outputs.all(), second, second.size()).toFloatArray();
    }
  }

  private static ExampleBatch half(ExampleBatch batch, int which) {
    int from = which * batch.size();
    int[] rows = IntStream.range(from, from + batch.size()).toArray();
    return new ExampleBatch(batch.source(), batch.indices(), batch.tokens().rows(rows));
  }

  private NDArray referenceScores(NDManager step, ExampleBatch batch) {
    int size = batch.size();
    float[] scores = new float[2 * size];
    if (reference.isPresent()) {
      if (Arrays.stream(batch.indices()).anyMatch(index -> !known.containsKey(index))) {
        compute(step, batch, reference.get());
      }
      for (int row = 0; row < size; row++) {
        float[] both = known.getOrDefault(batch.indices()[row], new float[2]);
        scores[row] = both[0];
        scores[size + row] = both[1];
      }
    }
    return step.create(scores);
  }

  private void compute(NDManager step, ExampleBatch batch, BatchForward forward) {
    try (GradientScope off = GradientScope.paused();
        NDManager scratch = step.newSubManager()) {
      TuningContext context = TuningContext.inference(scratch, batch.tokens());
      Outputs outputs = forward.outputs(scratch, Map.of(), batch, context);
      float[] found = sums(outputs.all(), batch, 0).toFloatArray();
      for (int row = 0; row < batch.size(); row++) {
        known.put(batch.indices()[row], new float[] {found[row], found[batch.size() + row]});
      }
    }
  }

  /**
   * Log-probabilities of what follows the prompts.
   *
   * @param outputs {@code [rows, virtual tokens + seq, vocabulary]}
   * @param from which of the batch's texts the first row is
   * @return {@code [rows]}
   */
  private static NDArray sums(NDArray outputs, ExampleBatch batch, int from) {
    Shape shape = outputs.getShape();
    int rows = (int) shape.get(0);
    int width = (int) shape.get(1);
    int inFront = width - batch.tokens().width();
    long[] labels = new long[rows * width];
    Arrays.fill(labels, CrossEntropyKernel.IGNORE);
    for (int row = 0; row < rows; row++) {
      int[] tokens = text(batch, from + row);
      int prompt = promptLength(batch, (from + row) % batch.size());
      for (int t = Math.max(prompt, 1); t < tokens.length; t++) {
        labels[row * width + inFront + t - 1] = tokens[t]; // an output says what comes next
      }
    }
    NDArray logits = outputs.reshape((long) rows * width, shape.get(2));
    NDArray losses =
        CrossEntropyKernel.shared().apply(logits.toType(DataType.FLOAT32, false), labels);
    return losses.reshape(rows, width).sum(new int[] {1}).neg();
  }

  private static int[] text(ExampleBatch batch, int row) {
    TokenExamples source = batch.source();
    int index = batch.indices()[row % batch.size()];
    return row < batch.size() ? source.tokens(index) : source.pair(index);
  }

  /** Tokens of the prompt that both texts of an example start with. */
  static int promptLength(ExampleBatch batch, int row) {
    return batch.label(row, Integer.MAX_VALUE);
  }

  /**
   * A tensor of a given value whose derivatives by the scores are given.
   *
   * @param scores what {@link #over} returned
   * @param values the scores as numbers
   * @param slopes one for each score
   */
  static NDArray differentiable(
      NDManager step, NDArray scores, float[] values, float[] slopes, double value) {
    NDArray change = scores.sub(step.create(values)).mul(step.create(slopes));
    return change.sum().add(step.create((float) value));
  }
}
