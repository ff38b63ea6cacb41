package org.sparkpeft.core.peft;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.function.Predicate;

/** The leaves of one step whose gradients a {@link StepObserver} wants beside the parameters'. */
public final class Probes {
  private final Predicate<String> wanted;
  private final Map<String, NDArray> leaves = new HashMap<>();

  private Probes(Predicate<String> wanted) {
    this.wanted = wanted;
  }

  public static Probes none() {
    return new Probes(name -> false);
  }

  public static Probes of(Predicate<String> wanted) {
    return new Probes(wanted);
  }

  Optional<NDArray> leaf(NDManager manager, String name, Shape shape) {
    if (!wanted.test(name)) {
      return Optional.empty();
    }
    return Optional.of(
        leaves.computeIfAbsent(
            name,
            key -> {
              NDArray zeros = manager.zeros(shape);
              zeros.setRequiresGradient(true);
              return zeros;
            }));
  }

  /** Adds {@code factor} times the gradients of the backward pass that just ran to {@code sums}. */
  public void addGradients(float factor, Map<String, float[]> sums) {
    leaves.forEach(
        (name, leaf) -> {
          try (NDArray gradient = leaf.getGradient()) {
            float[] values = gradient.toFloatArray();
            float[] sum = sums.computeIfAbsent(name, key -> new float[values.length]);
            for (int i = 0; i < values.length; i++) {
              sum[i] += factor * values[i];
            }
          }
        });
  }
}
