package org.sparkpeft.core.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import ai.djl.pytorch.engine.PtNDArray;
import ai.djl.pytorch.jni.JniUtils;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BiFunction;
import org.jspecify.annotations.Nullable;

/**
 * Layers whose packed weights are unpacked once for the forward and once more for the backward
 * pass. The recorded graph refers to the unpacked weights; all layers unpack theirs into the same
 * places, and before a layer is differentiated its own are put there again. So one layer's weights
 * take memory in float32, not all layers', and nothing else is computed twice.
 *
 * <p>The engine is not told of the change, or it would refuse the graph. That is right as long as a
 * layer hands nothing recorded to another but its output.
 */
final class UnpackedLayers implements SegmentedPass {
  private record Segment(
      NDManager step, NDArray made, NDArray output, LossTerms terms, List<Use> uses) {}

  /**
   * @param place what the weight was unpacked into
   * @param weight a view of it {@code [out, in]}
   */
  private record Use(Nf4Tensor tensor, NDArray place, NDArray weight) {}

  private final List<Segment> segments = new ArrayList<>();

  /** By number of entries. */
  private final Map<Integer, List<NDArray>> places = new HashMap<>();

  private @Nullable Map<Nf4Tensor, Use> running;
  private @Nullable NDManager owner;

  @Override
  public boolean isEmpty() {
    return segments.isEmpty();
  }

  /** The weight for a layer that is running; null where none is, and the graph is to keep it. */
  @Nullable NDArray unpacked(Nf4Tensor tensor) {
    Map<Nf4Tensor, Use> layer = running;
    NDManager manager = owner;
    if (layer == null || manager == null) {
      return null;
    }
    Use use = layer.get(tensor);
    if (use == null) {
      NDArray place = place(tensor, layer, manager);
      NDArray weight = tensor.unpackInto(place);
      use = new Use(tensor, place, weight);
      layer.put(tensor, use);
    }
    return use.weight;
  }

  private NDArray place(Nf4Tensor tensor, Map<Nf4Tensor, Use> layer, NDManager manager) {
    int size = tensor.room();
    List<NDArray> all = places.computeIfAbsent(size, any -> new ArrayList<>());
    int taken = (int) layer.keySet().stream().filter(other -> other.room() == size).count();
    if (taken == all.size()) {
      all.add(manager.zeros(new Shape(size)));
    }
    return all.get(taken);
  }

  @Override
  public NDArray run(NDManager step, NDArray input, BiFunction<NDManager, NDArray, NDArray> layer) {
    LossTerms terms = new LossTerms();
    Map<Nf4Tensor, Use> uses = new IdentityHashMap<>();
    owner = owner == null ? step : owner;
    running = uses;
    boolean isLeaf = input.hasGradient();
    NDArray made;
    try {
      made =
          LayerScope.run(
              step,
              scratch -> {
                input.attach(scratch);
                NDArray result = terms.hold(() -> layer.apply(scratch, input));
                if (isLeaf) {
                  input.attach(step);
                }
                terms.attach(step);
                return result;
              });
    } finally {
      running = null;
    }
    terms.deliver();
    if (!GradientScope.reaches(made) && !terms.anyHasGradient()) {
      return made;
    }
    NDArray output = made.stopGradient();
    output.attach(step);
    output.setRequiresGradient(true);
    segments.add(new Segment(step, made, output, terms, List.copyOf(uses.values())));
    return output;
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
      if (gradient != null || !segment.terms.isEmpty()) {
        segment.uses.forEach(use -> use.tensor.unpackInto(use.place).close());
        segment.terms.differentiate();
      }
      if (gradient != null && GradientScope.reaches(segment.made)) {
        // Keeps what was recorded outside the layers: other layers may read it too.
        JniUtils.backward((PtNDArray) segment.made, gradient, true, false);
        gradient.close();
      }
      segment.made.close();
      segment.output.close();
    }
    segments.clear();
  }
}
