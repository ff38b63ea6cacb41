package org.sparkpeft.core.peft.sparse;

import java.util.List;
import java.util.Set;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.RoundDecision;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TargetSelection;

/** Checks that several methods share. */
final class Checks {
  private Checks() {}

  static void density(Problems problems, String key, double density) {
    problems.require(
        density > 0 && density <= 1, key, density, "must be a share in (0, 1]; try 0.01");
  }

  static void budget(Problems problems, int entries, double density) {
    problems.require(
        entries >= 0,
        "num_tunable_weights",
        entries,
        "must be 0 (density decides) or a number of entries");
    density(problems, "density", density);
  }

  /** Entries to train: the number given, else a share of the base's parameters. */
  static double entries(ModuleTree modules, int entries, double density) {
    return entries > 0 ? entries : density * modules.parameters(ModuleSpec.Origin.REQUIRED);
  }

  /**
   * What the clients reported of a matrix.
   *
   * @throws IllegalArgumentException if it is missing or of another size
   */
  static float[] report(RoundDecision.Input input, String name, int size) {
    float[] report = input.reports().get(name);
    if (report == null || report.length != size) {
      throw new IllegalArgumentException(
          "the report on "
              + name
              + " has "
              + (report == null ? "no" : String.valueOf(report.length))
              + " numbers, expected "
              + size);
    }
    return report;
  }

  /** The layers' structure, which methods that act on blocks need. */
  static ModuleTree.Structure structure(ModuleTree modules, String peftType) {
    if (modules.structure().layers().isEmpty()) {
      throw new ConfigException(
          "peft_type",
          peftType + " acts on a transformer's layers, which this model does not have");
    }
    return modules.structure();
  }

  /** Matches every layer. */
  static final TargetModules EVERYTHING = new TargetModules(List.of(), ".*");

  /** The targets outside the task head, of any kind. */
  static List<ModuleSpec> body(
      ModuleTree modules, TargetModules targets, List<String> exclude, List<Integer> layers) {
    ModuleTree body = modules.without(modules.all().stream().filter(ModuleSpec::isHead).toList());
    return TargetSelection.select(body, targets, exclude, layers, Set.of(ModuleSpec.Kind.values()));
  }
}
