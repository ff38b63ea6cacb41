package org.sparkpeft.core.error;

import java.io.Serializable;

/**
 * One mistake in a configuration.
 *
 * @param key dotted key with Hugging Face or recipe spelling, for example {@code peft.r}
 * @param message what is wrong, the value, the limit and what to do
 * @param where {@code file:line}, or empty when the value did not come from a file
 */
public record Problem(String key, String message, String where) implements Serializable {

  public Problem(String key, String message) {
    this(key, message, "");
  }

  /** This problem under {@code prefix.key}. */
  public Problem under(String prefix) {
    return new Problem(key.isEmpty() ? prefix : prefix + "." + key, message, where);
  }

  /** This problem with the place it was found. */
  public Problem at(String place) {
    return new Problem(key, message, place);
  }

  @Override
  public String toString() {
    return (where.isEmpty() ? "" : where + ": ") + (key.isEmpty() ? "" : key + ": ") + message;
  }
}
