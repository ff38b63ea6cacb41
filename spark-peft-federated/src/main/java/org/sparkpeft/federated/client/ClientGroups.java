package org.sparkpeft.federated.client;

import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import java.util.function.ToLongFunction;

/**
 * Which clients of a round are trained together. Follows from the cohort, the clients' sizes and
 * the recipe, never from partitions, executors or attempts: who shares a pass decides the last bits
 * of its result.
 */
public final class ClientGroups {
  private ClientGroups() {}

  /**
   * Neighbours by size, since those make about as many steps; the largest first.
   *
   * @param sizes examples of a client
   * @param clients clients of a group; the last may have fewer
   */
  public static List<List<String>> of(
      Collection<String> cohort, ToLongFunction<String> sizes, int clients) {
    List<String> bySize =
        cohort.stream()
            .sorted(
                Comparator.comparingLong(sizes).reversed().thenComparing(Comparator.naturalOrder()))
            .toList();
    List<List<String>> groups = new ArrayList<>();
    for (int from = 0; from < bySize.size(); from += clients) {
      groups.add(List.copyOf(bySize.subList(from, Math.min(from + clients, bySize.size()))));
    }
    return List.copyOf(groups);
  }
}
