package org.sparkpeft.federated.cli;

import java.util.Collections;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * What a command has to say.
 *
 * @param message for people, one or more lines
 * @param data the same for machines, printed by {@code --json}: strings, numbers, booleans, lists
 *     and maps
 */
public record Outcome(String message, SortedMap<String, Object> data) {
  public Outcome {
    data = Collections.unmodifiableSortedMap(new TreeMap<>(data));
  }

  public static Outcome of(String message, Map<String, ?> data) {
    return new Outcome(message, new TreeMap<>(data));
  }
}
