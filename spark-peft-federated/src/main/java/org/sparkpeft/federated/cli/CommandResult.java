package org.sparkpeft.federated.cli;

import java.io.PrintStream;
import java.util.Optional;

/**
 * What a run of the command line came to.
 *
 * @param exitCode 0 success; 2 the configuration or command line is wrong; 3 the data or a file
 *     cannot be used; 1 anything else
 * @param output for standard output
 * @param error for standard error
 * @param outcome what a command that succeeded has to say
 * @param failure what was thrown, if something was
 */
public record CommandResult(
    int exitCode,
    String output,
    String error,
    Optional<Outcome> outcome,
    Optional<RuntimeException> failure) {

  void print(PrintStream out, PrintStream err) {
    print(error, err);
    print(output, out);
  }

  private static void print(String text, PrintStream stream) {
    if (!text.isEmpty()) {
      stream.println(text.stripTrailing());
    }
    stream.flush();
  }
}
