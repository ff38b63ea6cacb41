package org.sparkpeft.federated.config;

import java.io.Serializable;
import java.util.List;
import java.util.stream.Stream;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.metric.TextMetric;

/**
 * What is measured on the test data, and how often.
 *
 * @param every rounds between evaluations; 0 means only after the last round
 * @param metrics which of {@link #METRICS} are shown
 * @param references what the result is compared with: {@code baseline} (untrained), {@code
 *     head_only} (the head alone on pooled data), {@code central} (all data in one place)
 * @param perClient also evaluate the final adapter on each client's own examples
 * @param generate how texts are made for those of {@link #METRICS} that compare texts
 */
public record EvaluateConfig(
    int every,
    List<String> metrics,
    List<String> references,
    boolean perClient,
    GenerateConfig generate)
    implements Serializable {
  /** What is counted from a model's outputs. */
  public static final List<String> SCORES =
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

  /** {@link #SCORES}, and what compares generated texts with references. */
  public static final List<String> METRICS =
      Stream.concat(SCORES.stream(), TextMetric.names().stream()).toList();

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

  /** Those of the metrics that need generated texts. */
  public List<TextMetric> textMetrics() {
    return metrics.stream().flatMap(name -> TextMetric.named(name).stream()).distinct().toList();
  }

  EvaluateConfig withGenerate(GenerateConfig other) {
    return new EvaluateConfig(every, metrics, references, perClient, other);
  }

  public static EvaluateConfig defaults() {
    return new EvaluateConfig(
        1, List.of("accuracy", "macro_f1"), List.of(), false, GenerateConfig.defaults());
  }
}
