package org.sparkpeft.federated.config;

import java.util.Map;
import java.util.TreeMap;

/** A recipe as dotted keys and shown values, for comparing two of them key by key. */
final class RecipeText {
  private RecipeText() {}

  static Map<String, String> leaves(Recipe recipe) {
    Map<String, String> leaves = new TreeMap<>();
    collect("", RecipeWriter.toMap(recipe), leaves);
    return leaves;
  }

  private static void collect(String prefix, Map<?, ?> map, Map<String, String> leaves) {
    map.forEach(
        (name, value) -> {
          String key = prefix + name;
          if (value instanceof Map<?, ?> inner && !RecipeKeys.all().contains(key)) {
            collect(key + ".", inner, leaves);
          } else {
            leaves.put(key, String.valueOf(value));
          }
        });
  }
}
