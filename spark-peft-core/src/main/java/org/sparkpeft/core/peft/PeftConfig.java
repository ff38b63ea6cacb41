package org.sparkpeft.core.peft;

import java.io.Serializable;
import java.util.List;
import java.util.OptionalInt;

/**
 * The settings of one parameter-efficient method, under the names that Hugging Face PEFT's {@code
 * adapter_config.json} uses. Implemented by records: component {@code loraAlpha} is the field
 * {@code lora_alpha}.
 */
public interface PeftConfig extends Serializable {

  /** Hugging Face's name of the method, for example {@code LORA}. */
  String peftType();

  /**
   * Modules, by name or dotted suffix, that are trained and saved in full beside the adapter;
   * usually the task head.
   */
  List<String> modulesToSave();

  /** Number of tasks that the method tells apart by an example's task; empty if it does not. */
  default OptionalInt taskCount() {
    return OptionalInt.empty();
  }
}
