package org.sparkpeft.core.peft;

import org.sparkpeft.core.error.DataException;

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

  /**
   * Token ids of a text as the base's own tokenizer makes them, special tokens included.
   *
   * @throws org.sparkpeft.core.error.DataException if the base has no tokenizer
   */
  default int[] tokenIds(String text) {
    throw new DataException("the base has no tokenizer to read \"" + text + "\" with");
  }
}
