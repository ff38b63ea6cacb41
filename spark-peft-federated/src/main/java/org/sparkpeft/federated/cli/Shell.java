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

  /** Folder of what may be made again at any time: {@code SPARK_PEFT_CACHE}, or in the home. */
  Path cache() {
    String given = variables.getOrDefault("SPARK_PEFT_CACHE", "");
    return given.isEmpty()
        ? Path.of(System.getProperty("user.home"), ".cache", "spark-peft")
        : directory.resolve(given).toAbsolutePath();
  }
}
