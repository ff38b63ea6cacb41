package org.sparkpeft.core.peft;

/** The frozen tensors of the base model, by Hugging Face name. */
@FunctionalInterface
public interface BaseWeights {
  /**
   * A copy of one tensor's values, row-major.
   *
   * @param name for example {@code bert.encoder.layer.0.attention.self.query.weight}
   * @throws IllegalArgumentException if there is no such tensor
   */
  float[] tensor(String name);
}
