package org.sparkpeft.core.peft.sparse;

import java.util.List;
import org.sparkpeft.core.error.Problems;

/**
 * When SpIEL chooses new entries and how many.
 *
 * @param steps updates between two selections
 * @param window updates over which candidates are watched before one
 * @param initialRate share of the slots to change, falling to 0
 * @param policy {@code linear} (the first selection changes every slot, since the first entries are
 *     random) or {@code cosine}
 */
record SpielSchedule(int steps, int window, double initialRate, String policy) {

  void check(Problems problems) {
    problems
        .require(steps >= 2, "reselection_steps", steps, "must be at least 2 updates; 20 is usual")
        .require(
            window >= 1 && window < steps,
            "selection_accumulation_steps",
            window,
            "must be at least 1 and below reselection_steps; 5 is usual")
        .require(
            initialRate > 0 && initialRate <= 1,
            "initial_reselection_rate",
            initialRate,
            "must be in (0, 1]; 0.2 is usual")
        .require(
            List.of("linear", "cosine").contains(policy),
            "reselection_rate_policy",
            policy,
            "must be linear or cosine");
  }

  /**
   * Whether gradients count in an update, from 0: at the start, and from one update before each
   * multiple of {@code steps} until the selection.
   */
  boolean watches(int update) {
    return update % steps < window || (update + 1) % steps == 0;
  }

  /** Whether there is a selection after so many updates. */
  boolean selects(int completed) {
    return completed % steps == window;
  }

  /**
   * @param first whether it is the first selection
   * @param progress share of the whole training that is over
   */
  double rate(boolean first, double progress) {
    if (policy.equals("cosine")) {
      return initialRate * (1 + Math.cos(Math.PI * progress)) / 2;
    }
    return first ? 1 : initialRate * (1 - progress);
  }
}
