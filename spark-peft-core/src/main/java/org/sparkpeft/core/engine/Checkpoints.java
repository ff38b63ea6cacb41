package org.sparkpeft.core.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.pytorch.engine.PtNDArray;
import ai.djl.pytorch.jni.JniUtils;
import java.util.ArrayList;
import java.util.List;
import java.util.function.BiFunction;
import org.jspecify.annotations.Nullable;

/**
 * Gradient checkpointing (Chen et al. 2016, arXiv 1604.06174): a layer runs without being recorded
 * and leaves its output alone, a leaf; the backward pass goes from the last layer to the first,
 * computes each again, recorded, from what it read then, and continues with the gradient that its
 * output has got by then. Each layer's graph is freed before the next is made.
 *
 * <p>A layer may read anything, not its input alone: prefixes, a bias that layers share, an
 * encoder's states. Gradients flow through what was recorded outside the layers and add up in the
 * leaves, which the layers' outputs are, so whatever reads a layer's output has given its share
 * before that layer's turn comes. Layers must compute the same when they run again.
 *
 * <p>As long as the input has no gradient, a layer is recorded at first, which tells whether
 * anything in it is trained. If not, it has no part in the backward pass.
 */
final class Checkpoints implements SegmentedPass {
  /**
   * @param adds whether the layer adds to the loss
   */
  private record Segment(
      NDManager step,
      NDArray input,
      BiFunction<NDManager, NDArray, NDArray> layer,
      NDArray output,
      boolean adds) {}

  private final List<Segment> segments = new ArrayList<>();

  @Override
  public boolean isEmpty() {
    return segments.isEmpty();
  }

  @Override
  public NDArray run(NDManager step, NDArray input, BiFunction<NDManager, NDArray, NDArray> layer) {
    LossTerms terms = new LossTerms();
    try (NDManager scratch = step.newSubManager()) {
      input.attach(scratch);
      NDArray made;
      if (GradientScope.reaches(input)) {
        try (GradientScope off = GradientScope.paused()) {
          made = terms.hold(() -> layer.apply(scratch, input));
        }
      } else {
        made = terms.hold(() -> layer.apply(scratch, input));
      }
      terms.deliver();
      if (!GradientScope.reaches(input)
          && !GradientScope.reaches(made)
          && !terms.anyHasGradient()) {
        made.attach(step);
        return made;
      }
      input.attach(step);
      NDArray output = made.stopGradient();
      output.attach(step);
      output.setRequiresGradient(true);
      segments.add(new Segment(step, input, layer, output, !terms.isEmpty()));
      return output;
    }
  }

  @Override
  public void keepOutputs() {
    segments.forEach(segment -> segment.output.attach(segment.step));
  }

  @Override
  public void backward() {
    for (int i = segments.size() - 1; i >= 0; i--) {
      Segment segment = segments.get(i);
      PtNDArray gradient = JniUtils.getGradient((PtNDArray) segment.output);
      if (gradient != null || segment.adds) {
        backward(segment, gradient);
      }
      segment.output.close();
    }
    segments.clear();
  }

  private static void backward(Segment segment, @Nullable PtNDArray gradient) {
    try (NDManager kept = segment.step.newSubManager()) {
      LossTerms terms = new LossTerms();
      NDArray output =
          LayerScope.run(
              kept,
              scratch -> {
                segment.input.attach(scratch);
                NDArray made = terms.hold(() -> segment.layer.apply(scratch, segment.input));
                segment.input.attach(segment.step);
                terms.attach(kept);
                return made;
              });
      terms.differentiate();
      if (gradient != null && GradientScope.reaches(output)) {
        gradient.attach(kept);
        // Keeps what was recorded outside the layers: other layers may read it too.
        JniUtils.backward((PtNDArray) output, gradient, true, false);
      }
    }
  }
}
