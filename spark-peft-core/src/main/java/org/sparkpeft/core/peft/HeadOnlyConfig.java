package org.sparkpeft.core.peft;

import java.util.List;

/**
 * No adapter at all: only the modules to save are trained. With the task head alone it is the
 * baseline that any adapter must beat; with every module it is full fine-tuning.
 *
 * @param modulesToSave modules trained and saved in full, beside the task head
 */
public record HeadOnlyConfig(List<String> modulesToSave) implements PeftConfig {

  public HeadOnlyConfig {
    modulesToSave = List.copyOf(modulesToSave);
  }

  /** The task head alone. */
  public static HeadOnlyConfig defaults() {
    return new HeadOnlyConfig(List.of());
  }

  @Override
  public String peftType() {
    return "NONE";
  }
}
