package org.sparkpeft.tests.peft;

import java.util.Map;

/** Settings in place of defaults that are too large for layers of 16 by 16. */
final class TinySettings {
  private static final Map<String, Map<String, Object>> SMALLER =
      Map.of(
          "FOURIERFT", Map.of("n_frequency", 50),
          "WAVEFT", Map.of("n_frequency", 50));

  private TinySettings() {}

  static Map<String, Object> of(String type) {
    return SMALLER.getOrDefault(type, Map.of());
  }
}
