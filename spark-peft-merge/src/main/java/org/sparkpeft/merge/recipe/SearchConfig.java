package org.sparkpeft.merge.recipe;

import java.io.Serializable;
import java.util.List;
import org.sparkpeft.core.error.Problems;

/**
 * How the numbers of a merge are found on validation data.
 *
 * @param method {@code grid}, {@code nelder_mead} or {@code cma_es}
 * @param over which numbers are looked for: {@code weights}, {@code density}, {@code lambda}
 * @param metric what is made as good as possible; its mean over the tasks
 * @param evaluations most candidates of nelder_mead and cma_es
 * @param penalty factor of the mean magnitude of the weights, taken off the score; LoraHub's is
 *     0.05
 * @param seed of cma_es
 * @param model base model; empty takes what the adapters say
 * @param weights what a weight may be
 * @param density what the density may be
 * @param lambda what lambda may be
 * @param tasks what candidates are tried on
 */
public record SearchConfig(
    String method,
    List<String> over,
    String metric,
    int evaluations,
    double penalty,
    long seed,
    String model,
    Range weights,
    Range density,
    Range lambda,
    List<SearchTask> tasks)
    implements Serializable {
  public static final List<String> METHODS = List.of("grid", "nelder_mead", "cma_es");
  public static final List<String> NUMBERS = List.of("weights", "density", "lambda");

  /**
   * What a number may be.
   *
   * @param values those of a grid
   * @param low least
   * @param high greatest
   * @param step how far from the recipe's own value the search begins
   */
  public record Range(List<Double> values, double low, double high, double step)
      implements Serializable {
    public Range {
      values = List.copyOf(values);
      new Problems()
          .require(!values.isEmpty(), "values", values, "must name at least one number")
          .require(low < high, "low", low, "must be less than high, " + high)
          .require(
              step > 0 && step <= high - low,
              "step",
              step,
              "must be above 0 and at most high - low")
          .throwIfAny();
    }

    public Range withValues(List<Double> newValues) {
      return new Range(newValues, low, high, step);
    }
  }

  public SearchConfig {
    over = List.copyOf(over);
    tasks = List.copyOf(tasks);
    Problems problems =
        new Problems()
            .require(
                METHODS.contains(method),
                "method",
                method,
                "must be one of " + String.join(", ", METHODS))
            .require(
                !over.isEmpty()
                    && NUMBERS.containsAll(over)
                    && over.stream().distinct().count() == over.size(),
                "over",
                over,
                "must be one or more of " + String.join(", ", NUMBERS))
            .require(
                !metric.isBlank(), "metric", metric, "must name a metric, for example accuracy")
            .require(
                evaluations >= 1 && evaluations <= 100_000,
                "evaluations",
                evaluations,
                "must be 1..100000")
            .require(
                penalty >= 0 && Double.isFinite(penalty), "penalty", penalty, "must be 0 or above")
            .require(
                density.low() > 0
                    && density.high() <= 1
                    && density.values().stream().allMatch(value -> value > 0 && value <= 1),
                "density",
                density.values(),
                "low, high and values must be in (0, 1]");
    problems.throwIfAny();
  }

  /**
   * For a merge method. LoraHub's are those of its publication: little data, its loss, weights of
   * up to 1.5 either way, a penalty on their size.
   */
  public static SearchConfig defaults(String mergeMethod) {
    boolean hub = mergeMethod.equals("lorahub");
    return new SearchConfig(
        "cma_es",
        List.of("weights"),
        hub ? "loss" : "accuracy",
        40,
        hub ? 0.05 : 0,
        0,
        "",
        hub
            ? new Range(List.of(0.0, 0.5, 1.0), -1.5, 1.5, 0.5)
            : new Range(List.of(0.0, 0.25, 0.5, 0.75, 1.0), 0, 2, 0.25),
        new Range(List.of(0.1, 0.2, 0.3, 0.5, 0.7, 0.9), 0.05, 1, 0.2),
        new Range(List.of(0.4, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0), 0.1, 3, 0.3),
        List.of());
  }

  public SearchConfig withTasks(List<SearchTask> newTasks, String newModel) {
    return new SearchConfig(
        method,
        over,
        metric,
        evaluations,
        penalty,
        seed,
        newModel,
        weights,
        density,
        lambda,
        newTasks);
  }

  /** Whether a smaller value of the metric is better. */
  public boolean minimises() {
    return metric.equals("loss") || metric.equals("mse");
  }
}
