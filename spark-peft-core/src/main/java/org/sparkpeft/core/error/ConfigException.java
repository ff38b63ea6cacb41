package org.sparkpeft.core.error;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;

/**
 * The user's configuration or command line cannot be used. Carries every problem found, not only
 * the first. Exit code 2.
 */
public final class ConfigException extends RuntimeException {
  private static final long serialVersionUID = 1L;
  private final ArrayList<Problem> problems;

  public ConfigException(List<Problem> problems) {
    super(
        problems.stream()
            .map(Problem::toString)
            .collect(Collectors.joining(System.lineSeparator())));
    this.problems = new ArrayList<>(problems);
  }

  public ConfigException(String key, String message) {
    this(List.of(new Problem(key, message)));
  }

  public List<Problem> problems() {
    return List.copyOf(problems);
  }
}
