package org.sparkpeft.core.peft;

import java.io.Serializable;
import java.util.List;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import org.sparkpeft.core.error.ConfigException;

/**
 * Which modules a method acts on, as Hugging Face PEFT writes it: a list of names (each matches a
 * path that equals it or ends with a dot and it), one regular expression that must match the whole
 * path, or {@code all-linear} (every linear layer but the task head).
 *
 * @param names names or dotted suffixes; empty when {@code expression} is used
 * @param expression a regular expression or {@code all-linear}; empty when {@code names} is used
 */
public record TargetModules(List<String> names, String expression) implements Serializable {
  public static final String ALL_LINEAR = "all-linear";

  public TargetModules {
    names = List.copyOf(names);
    if (names.isEmpty() == expression.isEmpty()) {
      throw new ConfigException(
          "target_modules",
          "must be a list of module names, a regular expression or \"all-linear\", got " + names);
    }
    if (!expression.isEmpty()) {
      try {
        Pattern.compile(expression);
      } catch (PatternSyntaxException e) {
        throw new ConfigException(
            "target_modules",
            "\"" + expression + "\" is not a regular expression: " + e.getDescription());
      }
    }
  }

  public static TargetModules of(String... names) {
    return new TargetModules(List.of(names), "");
  }

  /**
   * From a configuration value: a list of strings, or one string.
   *
   * @throws ConfigException if it is neither
   */
  public static TargetModules fromConfig(Object value) {
    if (value instanceof String expression) {
      return new TargetModules(List.of(), expression);
    }
    if (value instanceof List<?> list && list.stream().allMatch(String.class::isInstance)) {
      return new TargetModules(list.stream().map(String.class::cast).toList(), "");
    }
    throw new ConfigException(
        "target_modules", "must be a list of module names or one string, got " + value);
  }

  /** What {@link #fromConfig} reads back. */
  public Object toConfig() {
    return names.isEmpty() ? expression : names;
  }

  public boolean isAllLinear() {
    return expression.equals(ALL_LINEAR);
  }

  /** Whether a module path, for example {@code encoder.layer.0.attention.self.query}, is meant. */
  public boolean matches(String path) {
    if (isAllLinear()) {
      return true;
    }
    return names.isEmpty()
        ? path.matches(expression)
        : names.stream().anyMatch(name -> matchesSuffix(path, name));
  }

  /** Whether one string of a configuration is a regular expression rather than a name. */
  public static boolean isExpression(String name) {
    return name.chars().anyMatch(c -> "*+?|()[]{}^$\\".indexOf(c) >= 0);
  }

  /**
   * Whether a path is meant by names, or by one regular expression that must match all of it, which
   * configuration records keep as a list of one.
   */
  public static boolean anyMatches(List<String> names, String path) {
    return (names.size() == 1 && isExpression(names.get(0)))
        ? path.matches(names.get(0))
        : names.stream().anyMatch(name -> matchesSuffix(path, name));
  }

  /** Whether {@code path} equals {@code name} or ends with a dot and {@code name}. */
  public static boolean matchesSuffix(String path, String name) {
    return path.equals(name) || path.endsWith("." + name);
  }
}
