package org.sparkpeft.federated.config;

import java.lang.reflect.RecordComponent;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.sparkpeft.core.peft.PeftConfig;

/** The dotted keys a recipe may have, derived from the records it is bound to. */
final class RecipeKeys {
  /** Dotted key to the Java type of its value; sections are not among them. */
  private static final Map<String, Class<?>> LEAVES = leaves();

  private RecipeKeys() {}

  static List<String> all() {
    return List.copyOf(LEAVES.keySet());
  }

  /**
   * The steps from the root to {@code key}. What follows a key that holds a map is one step, dots
   * included: {@code spark.conf.spark.ui.enabled} is {@code spark}, {@code conf}, {@code
   * spark.ui.enabled}.
   */
  static List<String> path(String key) {
    for (Map.Entry<String, Class<?>> leaf : LEAVES.entrySet()) {
      if (leaf.getValue() == Map.class && key.startsWith(leaf.getKey() + ".")) {
        List<String> path = new ArrayList<>(List.of(leaf.getKey().split("\\.", -1)));
        path.add(key.substring(leaf.getKey().length() + 1));
        return path;
      }
    }
    return List.of(key.split("\\.", -1));
  }

  /** A key elsewhere in the recipe whose last part is {@code name}. */
  static Optional<String> endingWith(String name) {
    return LEAVES.keySet().stream().filter(key -> key.endsWith("." + name)).findFirst();
  }

  /** Whether {@code text} names {@code key} as a word of its own. */
  static boolean mentions(String text, String key) {
    return Pattern.compile("(?<![\\w.])" + Pattern.quote(key) + "(?![\\w])").matcher(text).find();
  }

  /** The one of {@code known} that {@code name} is most likely a slip of. */
  static Optional<String> nearest(String name, Iterable<String> known) {
    List<String> candidates = new ArrayList<>();
    known.forEach(candidates::add);
    int tolerance = Math.max(1, name.length() / 3);
    return candidates.stream()
        .filter(candidate -> distance(name, candidate) <= tolerance)
        .min(
            Comparator.<String>comparingInt(candidate -> distance(name, candidate))
                .thenComparing(Comparator.naturalOrder()));
  }

  /** Optimal string alignment: insertions, deletions, substitutions, swaps of neighbours. */
  static int distance(String a, String b) {
    int[][] d = new int[a.length() + 1][b.length() + 1];
    for (int i = 0; i <= a.length(); i++) {
      for (int j = 0; j <= b.length(); j++) {
        if (i == 0 || j == 0) {
          d[i][j] = i + j;
          continue;
        }
        int substitution = a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1;
        d[i][j] =
            Math.min(Math.min(d[i - 1][j] + 1, d[i][j - 1] + 1), d[i - 1][j - 1] + substitution);
        if (i > 1
            && j > 1
            && a.charAt(i - 1) == b.charAt(j - 2)
            && a.charAt(i - 2) == b.charAt(j - 1)) {
          d[i][j] = Math.min(d[i][j], d[i - 2][j - 2] + 1);
        }
      }
    }
    return d[a.length()][b.length()];
  }

  private static Map<String, Class<?>> leaves() {
    Map<String, Class<?>> leaves = new TreeMap<>();
    collect("", Recipe.defaults(), leaves);
    return leaves;
  }

  private static void collect(String prefix, Record record, Map<String, Class<?>> leaves) {
    RecordFields.of(record.getClass())
        .forEach((key, field) -> collect(prefix + key, record, field, leaves));
  }

  private static void collect(
      String key, Record record, RecordComponent field, Map<String, Class<?>> leaves) {
    if (field.getType() == PeftConfig.class) {
      leaves.put(key + "." + PeftTypes.KEY, String.class);
      PeftTypes.defaults().values().forEach(peft -> collect(key + ".", (Record) peft, leaves));
    } else if (RecordBinder.isSection(field.getType())) {
      collect(key + ".", (Record) RecordFields.get(record, field), leaves);
    } else {
      leaves.put(key, field.getType());
    }
  }
}
