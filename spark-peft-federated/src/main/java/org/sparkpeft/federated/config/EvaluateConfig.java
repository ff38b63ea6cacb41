package org.sparkpeft.federated.config;

import java.io.Serializable;
import java.util.List;
import org.sparkpeft.core.error.Problems;

/**
 * What is measured on the test data, and how often.
 *
 * @param every rounds between evaluations; 0 means only after the last round
 * @param metrics which of {@link #METRICS} are shown
 * @param references what the result is compared with: {@code baseline} (untrained), {@code
 *     head_only} (the head alone on pooled data), {@code central} (all data in one place)
 * @param perClient also evaluate the final adapter on each client's own examples
 */
public record EvaluateConfig(
    int every, List<String> metrics, List<String> references, boolean perClient)
    implements Serializable {
  public static final List<String> METRICS =
      List.of(
          "accuracy",
          "macro_f1",
          "micro_f1",
          "mcc",
          "mse",
          "pearson",
          "perplexity",
          "reward_margin",
          "reward_chosen",
          "reward_rejected",
          "loss");
  public static final List<String> REFERENCES = List.of("baseline", "head_only", "central");

  public EvaluateConfig {
    metrics = List.copyOf(metrics);
    references = List.copyOf(references);
    Problems problems =
        new Problems()
            .require(every >= 0, "every", every, "must be 0 (only at the end) or above")
            .require(!metrics.isEmpty(), "metrics", metrics, "must name at least one metric");
    requireKnown(problems, "metrics", metrics, METRICS);
    requireKnown(problems, "references", references, REFERENCES);
    problems.throwIfAny();
  }

  private static void requireKnown(
      Problems problems, String key, List<String> names, List<String> known) {
    for (String name : names) {
      problems.require(
          known.contains(name), key, name, "each must be one of " + String.join(", ", known));
    }
  }

  public static EvaluateConfig defaults() {
    return new EvaluateConfig(1, List.of("accuracy", "macro_f1"), List.of(), false);
  }
}
