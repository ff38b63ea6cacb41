package org.sparkpeft.federated.client;

import java.util.Comparator;
import java.util.List;
import java.util.Map;
import org.sparkpeft.core.vector.ParameterLayout;

/** The classes of a label column. */
final class Labels {
  private Labels() {}

  /** Names in index order: as numbers when all are whole numbers, else by UTF-8 bytes. */
  static List<String> order(Map<String, Long> counts) {
    boolean numbers = counts.keySet().stream().allMatch(name -> name.matches("-?\\d{1,18}"));
    Comparator<String> order =
        numbers ? Comparator.comparingLong(Long::parseLong) : ParameterLayout.UTF8_ORDER;
    return counts.keySet().stream().sorted(order).toList();
  }
}
