package org.sparkpeft.federated.round;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.sparkpeft.core.random.Philox;

/**
 * Draws the clients of a round: uniformly without replacement, a pure function of (seed, round,
 * client ids).
 */
final class CohortSampler {
  private final long seed;
  private final List<String> clients;
  private final int size;

  /**
   * @param clients all client ids
   * @param size clients a round, at least 1 and at most all
   */
  CohortSampler(long seed, List<String> clients, int size) {
    if (size < 1 || size > clients.size()) {
      throw new IllegalArgumentException(
          "a cohort of " + size + " cannot be drawn from " + clients.size() + " clients");
    }
    this.seed = seed;
    this.clients = clients.stream().sorted().toList();
    this.size = size;
  }

  /** The cohort of {@code round}, sorted by id. */
  List<String> draw(int round) {
    int[] order = Philox.of(seed, "cohort", round).permutation(clients.size());
    List<String> cohort = new ArrayList<>(size);
    for (int i = 0; i < size; i++) {
      cohort.add(clients.get(order[i]));
    }
    Collections.sort(cohort);
    return List.copyOf(cohort);
  }
}
