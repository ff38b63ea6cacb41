package org.sparkpeft.core.peft.reparam;

import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.error.Problems;

/** Checks that the configurations of this package have in common. */
final class Checks {
  static final int MAX_RANK = 4096;

  private Checks() {}

  static void rank(Problems problems, int r) {
    problems.require(
        r >= 1 && r <= MAX_RANK, "r", r, "must be 1.." + MAX_RANK + "; set \"r\" to 8 or 16");
  }

  static void positive(Problems problems, String key, double value) {
    problems.require(value > 0 && Double.isFinite(value), key, value, "must be above 0");
  }

  static void finite(Problems problems, String key, double value) {
    problems.require(Double.isFinite(value), key, value, "must be a finite number");
  }

  static void probability(Problems problems, String key, double value) {
    problems.require(value >= 0 && value < 1, key, value, "must be in [0, 1)");
  }

  static void oneOf(Problems problems, String key, String value, List<String> allowed) {
    problems.require(allowed.contains(value), key, value, "must be one of " + allowed);
  }

  static void layers(Problems problems, List<Integer> layersToTransform) {
    layersToTransform.forEach(
        layer ->
            problems.require(layer >= 0, "layers_to_transform", layer, "layer numbers start at 0"));
  }

  /**
   * Fields that change nothing at these values, null among them.
   *
   * @param namesAndValues alternately
   */
  static Map<String, Object> inert(@Nullable Object... namesAndValues) {
    Map<String, Object> fields = new HashMap<>();
    fields.put("layers_pattern", null);
    for (int i = 0; i < namesAndValues.length; i += 2) {
      fields.put((String) namesAndValues[i], namesAndValues[i + 1]);
    }
    return fields;
  }

  static void bias(Problems problems, String bias) {
    problems.require(
        bias.equals("none") || bias.endsWith("_only"),
        "bias",
        bias,
        "must be none, or end in _only to train the biases of the adapted layers");
  }

  /** Whole numbers by pattern, each in 1..max. */
  static void wholePatterns(Problems problems, String key, Map<String, Integer> patterns, int max) {
    patterns.forEach(
        (name, value) -> {
          expression(problems, key, name);
          problems.require(
              value >= 1 && value <= max, key + "." + name, value, "must be 1.." + max);
        });
  }

  /** Numbers by pattern, each above 0. */
  static void positivePatterns(Problems problems, String key, Map<String, Double> patterns) {
    patterns.forEach(
        (name, value) -> {
          expression(problems, key, name);
          positive(problems, key + "." + name, value);
        });
  }

  private static void expression(Problems problems, String key, String name) {
    boolean valid = true;
    try {
      Pattern.compile(name);
    } catch (PatternSyntaxException e) {
      valid = false;
    }
    problems.require(valid, key, name, "keys are module names or regular expressions");
  }

  /** A copy that keeps the order, because the first key that matches decides. */
  static <T> Map<String, T> ordered(Map<String, T> patterns) {
    return Collections.unmodifiableMap(new LinkedHashMap<>(patterns));
  }
}
