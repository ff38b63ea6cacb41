package org.sparkpeft.core.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.pytorch.jni.JniUtils;
import java.util.List;
import java.util.function.BiFunction;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.function.UnaryOperator;

/**
 * Runs pieces of a forward pass so that what a piece makes does not outlive it, unless the backward
 * pass needs it. Closing a tensor that autograd needs is safe, since the engine keeps it then; only
 * what was not recorded, such as a mask that lies in a Java buffer, must stay until the step ends.
 */
public final class LayerScope {
  private LayerScope() {}

  /**
   * Runs a part of a pass.
   *
   * @param step owner of the result
   * @param part makes the result with a manager for everything else
   */
  public static NDArray run(NDManager step, Function<NDManager, NDArray> part) {
    NDManager scratch = step.newSubManager();
    try {
      NDArray result = part.apply(scratch);
      result.attach(step);
      release(scratch, step);
      return result;
    } finally {
      scratch.close();
    }
  }

  /**
   * Runs a layer. It takes its input, which is nobody's afterwards, unless the layer is {@linkplain
   * GradientScope.Keeps differentiated by itself}: then it is there for the backward pass.
   *
   * @param step owner of the result
   * @param input the stream that flows through the layers, owned by {@code step}
   * @param layer from a manager for what it makes and the input to the output
   */
  public static NDArray run(
      NDManager step, NDArray input, BiFunction<NDManager, NDArray, NDArray> layer) {
    SegmentedPass segments = GradientScope.segments();
    if (segments != null && !LossTerms.areHeld()) {
      return segments.run(step, input, layer);
    }
    return run(
        step,
        scratch -> {
          input.attach(scratch);
          return layer.apply(scratch, input);
        });
  }

  /**
   * The sum of several losses of one tensor, without ever having more than one of them in memory:
   * in training, each is differentiated at once. The sum must be a term of the loss with factor 1.
   *
   * @param losses each from the tensor to a tensor with one entry
   * @return one entry; its gradient is that of {@code x}
   */
  public static NDArray sum(NDManager step, NDArray x, List<UnaryOperator<NDArray>> losses) {
    NDArray own = x.stopGradient();
    own.attach(step);
    boolean recorded = GradientScope.reaches(x);
    if (recorded) {
      own.setRequiresGradient(true);
    }
    double sum = 0;
    for (UnaryOperator<NDArray> each : losses) {
      LossTerms terms = new LossTerms();
      try (NDManager scratch = step.newSubManager()) {
        own.attach(scratch);
        NDArray loss = terms.hold(() -> each.apply(own));
        terms.differentiate();
        terms.deliver();
        if (GradientScope.reaches(loss)) {
          GradientScope.addGradients(loss, true);
        }
        sum += loss.getFloat();
        own.attach(step);
      }
    }
    NDArray value = step.create((float) sum);
    if (!recorded) {
      return value;
    }
    NDArray product = x.mul(own.getGradient()).sum();
    return product.sub(product.stopGradient()).add(value);
  }

  /**
   * Adds to the loss from anywhere in a pass.
   *
   * @param term a tensor with one entry
   * @param step owner of the loss
   * @param loss takes the term, or its value where its gradient comes with the layer's
   */
  public static void addToLoss(NDArray term, NDManager step, Consumer<NDArray> loss) {
    LossTerms.add(
        term,
        value -> {
          value.attach(step);
          loss.accept(value);
        });
  }

  /** Leaves with {@code step} what a recorded graph may refer to and the engine does not keep. */
  private static void release(NDManager scratch, NDManager step) {
    if (JniUtils.isGradMode()) {
      for (NDArray array : scratch.getManagedArrays()) {
        if (JavaBuffers.isIn(array)) {
          array.attach(step);
        }
      }
    }
  }
}
