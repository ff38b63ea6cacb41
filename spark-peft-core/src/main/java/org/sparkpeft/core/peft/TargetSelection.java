package org.sparkpeft.core.peft;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;

/** Which modules of a model a configuration means, by Hugging Face PEFT's rules. */
public final class TargetSelection {
  /** The number of the outermost list of layers that a path runs through. */
  private static final Pattern LAYER_NUMBER = Pattern.compile(".*?\\.[^.]*\\.(\\d+)\\..*");

  private static final int SUGGESTIONS = 6;

  private TargetSelection() {}

  /**
   * The modules to act on, in model order.
   *
   * @param targets what to match
   * @param exclude names or dotted suffixes to leave out, or one regular expression
   * @param layers layer numbers to keep; empty means all
   * @param kinds kinds of module the method can act on; {@code all-linear} takes linear layers
   *     only, not convolutions
   * @throws ConfigException if nothing matches, listing close names, or a match is of another kind
   */
  public static List<ModuleSpec> select(
      ModuleTree modules,
      TargetModules targets,
      List<String> exclude,
      List<Integer> layers,
      Set<ModuleSpec.Kind> kinds) {
    return select(modules, targets, exclude, layers, List.of(), kinds);
  }

  /**
   * As {@link #select(ModuleTree, TargetModules, List, List, Set)}, where {@code layers} count in
   * the lists of modules with one of these names.
   *
   * @param lists names such as {@code layer}; empty means the outermost list
   */
  public static List<ModuleSpec> select(
      ModuleTree modules,
      TargetModules targets,
      List<String> exclude,
      List<Integer> layers,
      List<String> lists,
      Set<ModuleSpec.Kind> kinds) {
    List<ModuleSpec> selected = new ArrayList<>();
    for (ModuleSpec module : modules.all()) {
      boolean meant =
          targets.isAllLinear()
              ? module.kind() == ModuleSpec.Kind.LINEAR
                  && !module.isConvolution()
                  && !module.path().equals(modules.structure().output())
              : targets.matches(module.path());
      if (!meant
          || TargetModules.anyMatches(exclude, module.path())
          || !(layers.isEmpty() || layers.contains(layerNumber(module.path(), lists)))) {
        continue;
      }
      if (!kinds.contains(module.kind())) {
        throw new ConfigException(
            "target_modules",
            module.path() + " is of kind " + module.kind() + "; this method acts on " + kinds);
      }
      selected.add(module);
    }
    if (selected.isEmpty()) {
      throw new ConfigException("target_modules", nothing(modules, targets, exclude, layers));
    }
    return selected;
  }

  private static int layerNumber(String path, List<String> lists) {
    List<Pattern> patterns =
        lists.isEmpty()
            ? List.of(LAYER_NUMBER)
            : lists.stream()
                .map(name -> Pattern.compile(".*?\\." + Pattern.quote(name) + "\\.(\\d+)\\..*"))
                .toList();
    for (Pattern pattern : patterns) {
      Matcher matcher = pattern.matcher("." + path);
      if (matcher.matches()) {
        return Integer.parseInt(matcher.group(1));
      }
    }
    return -1;
  }

  private static String nothing(
      ModuleTree modules, TargetModules targets, List<String> exclude, List<Integer> layers) {
    StringBuilder message = new StringBuilder("no module matches ").append(targets.toConfig());
    if (!layers.isEmpty()) {
      message.append(" in layers ").append(layers);
    }
    if (!exclude.isEmpty()) {
      message.append(" after leaving out ").append(exclude);
    }
    String wanted = targets.names().isEmpty() ? targets.expression() : targets.names().get(0);
    return message.append("; close names are ").append(closest(modules, wanted)).toString();
  }

  /** The names of modules that resemble {@code wanted} most, nearest first. */
  public static List<String> closest(ModuleTree modules, String wanted) {
    String last = wanted.substring(wanted.lastIndexOf('.') + 1);
    return modules.lastNames().stream()
        .sorted(
            Comparator.comparingInt((String name) -> distance(name, last))
                .thenComparing(Comparator.naturalOrder()))
        .limit(SUGGESTIONS)
        .toList();
  }

  /** Levenshtein's edit distance. */
  private static int distance(String a, String b) {
    int[] previous = new int[b.length() + 1];
    for (int j = 0; j <= b.length(); j++) {
      previous[j] = j;
    }
    for (int i = 1; i <= a.length(); i++) {
      int[] current = new int[b.length() + 1];
      current[0] = i;
      for (int j = 1; j <= b.length(); j++) {
        int replaced = previous[j - 1] + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1);
        current[j] = Math.min(replaced, 1 + Math.min(previous[j], current[j - 1]));
      }
      previous = current;
    }
    return previous[b.length()];
  }
}
