package org.sparkpeft.core.model;

import ai.djl.ndarray.NDManager;
import java.util.List;
import org.sparkpeft.core.nn.Rotary;

/**
 * Rotary positions as a model's configuration describes them.
 *
 * @param frequencies angle for each step, one for each pair of entries
 */
record RotaryConfig(List<Float> frequencies) {

  /**
   * @param size entries of a head that turn
   * @param positions longest sequence the model was made for
   */
  static RotaryConfig of(ModelConfig config, int size, int positions) {
    ModelConfig rope = config.has("rope_parameters") ? config.child("rope_parameters") : config;
    ModelConfig scaling = config.has("rope_scaling") ? config.child("rope_scaling") : rope;
    scaling.only("rope_type", List.of("default"));
    double theta = rope.positive("rope_theta", 10_000);
    List<Float> frequencies = new java.util.ArrayList<>();
    for (int i = 0; i < size; i += 2) {
      frequencies.add((float) (1 / (float) Math.pow(theta, (double) i / size)));
    }
    return new RotaryConfig(List.copyOf(frequencies));
  }

  /** Angles of the given positions, {@code [1 or batch][seq]}. */
  Rotary at(NDManager step, int[][] positions) {
    float[] plain = new float[frequencies.size()];
    for (int i = 0; i < plain.length; i++) {
      plain[i] = frequencies.get(i);
    }
    return Rotary.of(step, positions, plain, 1);
  }
}
