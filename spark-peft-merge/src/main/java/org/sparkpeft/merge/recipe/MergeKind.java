package org.sparkpeft.merge.recipe;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/** Methods that merge checkpoints, as recipes name them, and what can be set for each. */
public enum MergeKind {
  LINEAR(false, true, Map.of(), "weight", "normalize"),
  TASK_ARITHMETIC(true, false, Map.of(), "weight", "normalize", "lambda"),
  TIES(true, true, Map.of("density", 0.2), "weight", "density", "normalize", "lambda"),
  DARE_LINEAR(
      true, false, Map.of("density", 0.5), "weight", "density", "normalize", "lambda", "rescale"),
  DARE_TIES(
      true, false, Map.of("density", 0.5), "weight", "density", "normalize", "lambda", "rescale"),
  DELLA(
      true,
      true,
      Map.of("density", 0.7, "epsilon", 0.07),
      "weight",
      "density",
      "epsilon",
      "normalize",
      "lambda",
      "rescale"),
  DELLA_LINEAR(
      true,
      false,
      Map.of("density", 0.7, "epsilon", 0.07),
      "weight",
      "density",
      "epsilon",
      "normalize",
      "lambda",
      "rescale"),
  BREADCRUMBS(
      true,
      false,
      Map.of("density", 0.9, "gamma", 0.01),
      "weight",
      "density",
      "gamma",
      "normalize",
      "lambda"),
  BREADCRUMBS_TIES(
      true,
      false,
      Map.of("density", 0.9, "gamma", 0.01),
      "weight",
      "density",
      "gamma",
      "normalize",
      "lambda"),
  PCB(true, false, Map.of("density", 0.1), "weight", "density", "lambda"),
  /** Entries weighted by each model's Fisher information, from files of that. */
  FISHER(false, true, Map.of(), "weight", "normalize"),
  /** Linear layers by least squares, with each model's Gram matrices, from files of those. */
  REGMEAN(false, false, Map.of("alpha", 0.9), "alpha"),
  SLERP(false, false, Map.of("t", 0.5), "t"),
  MULTI_SLERP(false, true, Map.of(), "weight"),
  MODEL_STOCK(true, false, Map.of()),
  CONSENSUS(true, false, Map.of("threshold", 0.4), "weight", "threshold", "normalize", "lambda"),
  /** Exponential moving average of checkpoints of one run, named in their order. */
  EMA(false, false, Map.of("decay", 0.9), "decay"),
  PASSTHROUGH(false, false, Map.of());

  private final boolean needsBase;
  private final boolean normalizes;
  private final Map<String, Double> defaults;
  private final Set<String> parameters;

  MergeKind(
      boolean needsBase, boolean normalizes, Map<String, Double> defaults, String... parameters) {
    this.needsBase = needsBase;
    this.normalizes = normalizes;
    this.defaults = defaults;
    this.parameters = Set.of(parameters);
  }

  /** As a recipe spells it. */
  public String spelling() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** The kind with that name, if there is one. */
  public static Optional<MergeKind> named(String name) {
    return Arrays.stream(values()).filter(kind -> kind.spelling().equals(name)).findFirst();
  }

  /** All names. */
  public static List<String> names() {
    return Arrays.stream(values()).map(MergeKind::spelling).toList();
  }

  /** Whether models are merged as differences to a base model. */
  public boolean needsBase() {
    return needsBase;
  }

  /** The key of a model's file that the method weighs it by; empty for most. */
  public String evidenceKey() {
    return switch (this) {
      case FISHER -> "fisher";
      case REGMEAN -> "gram";
      default -> "";
    };
  }

  /** What can be set. */
  public Set<String> parameters() {
    return parameters;
  }

  /**
   * The value of a parameter nobody set. Where mergekit's defaults differ from the publications',
   * which are ours, its recipes get its own.
   *
   * @param mergekit whether the recipe is one of mergekit's
   */
  public double absent(String parameter, boolean mergekit) {
    if (mergekit) {
      switch (parameter) {
        case "density" -> {
          return 1;
        }
        case "epsilon" -> {
          return 0.15;
        }
        default -> {}
      }
    }
    return switch (parameter) {
      case "weight", "lambda" -> 1;
      case "normalize" -> normalizes ? 1 : 0;
      case "rescale" -> 1;
      default -> defaults.getOrDefault(parameter, 0.0);
    };
  }
}
