package org.sparkpeft.core.peft.reparam;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TargetSelection;
import org.sparkpeft.core.random.Philox;

/** Which layers are meant, and starting values. */
final class Layers {
  private Layers() {}

  static List<ModuleSpec> linear(
      ModuleTree modules, TargetModules targets, List<String> exclude, List<Integer> numbers) {
    return TargetSelection.select(
        modules, targets, exclude, numbers, Set.of(ModuleSpec.Kind.LINEAR));
  }

  /**
   * The value of the first key, a regular expression, that matches the path or its end after a dot.
   */
  static <T> T first(Map<String, T> patterns, String path, T fallback) {
    for (Map.Entry<String, T> entry : patterns.entrySet()) {
      if (Pattern.matches("(.*\\.)?(" + entry.getKey() + ")", path)) {
        return entry.getValue();
      }
    }
    return fallback;
  }

  /** Like {@link #first}, but a key matches after a dot only, or is the whole path as it stands. */
  static <T> T firstAfterDot(Map<String, T> patterns, String path, T fallback) {
    for (Map.Entry<String, T> entry : patterns.entrySet()) {
      if (Pattern.matches(".*\\." + entry.getKey(), path)) {
        return entry.getValue();
      }
    }
    return patterns.getOrDefault(path, fallback);
  }

  /** Uniform within 1/sqrt(fanIn): Kaiming's with a = sqrt 5. */
  static float[] kaiming(Philox random, int size, int fanIn) {
    float bound = (float) (1 / Math.sqrt(fanIn));
    return random.uniform(size, -bound, bound);
  }

  static float[] filled(int size, float value) {
    float[] values = new float[size];
    java.util.Arrays.fill(values, value);
    return values;
  }

  static int size(List<Integer> shape) {
    return shape.stream().reduce(1, Math::multiplyExact);
  }
}
