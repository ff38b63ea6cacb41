package org.sparkpeft.federated.cli;

import java.io.PrintStream;
import java.nio.file.Path;
import java.util.Map;

/**
 * Where the command line runs.
 *
 * @param directory working directory
 * @param variables environment variables
 * @param progress where progress is drawn
 */
record Shell(Path directory, Map<String, String> variables, PrintStream progress) {

  static Shell ofProcess() {
    return new Shell(Path.of(""), System.getenv(), System.err);
  }

  /**
   * Folder of what may be made again at any time: {@code SPARK_PEFT_CACHE}, else {@code
   * $XDG_CACHE_HOME/spark-peft}, else {@code ~/.cache/spark-peft}.
   */
  Path cache() {
    String given = variables.getOrDefault("SPARK_PEFT_CACHE", "").strip();
    if (!given.isEmpty()) {
      return directory.resolve(given).toAbsolutePath();
    }
    String xdg = variables.getOrDefault("XDG_CACHE_HOME", "").strip();
    return xdg.startsWith("/")
        ? Path.of(xdg, "spark-peft")
        : Path.of(System.getProperty("user.home"), ".cache", "spark-peft");
  }
}
