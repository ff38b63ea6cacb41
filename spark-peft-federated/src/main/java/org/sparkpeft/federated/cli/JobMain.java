package org.sparkpeft.federated.cli;

/**
 * Entry point inside a process that is not ours: Databricks JAR tasks and notebooks. Uses the Spark
 * session that is there and leaves it running, never exits, and throws on failure.
 */
public final class JobMain {
  private JobMain() {}

  /**
   * Runs one command.
   *
   * @throws RuntimeException what the command failed with
   */
  public static void main(String[] args) {
    run(new SparkPeft(new FederatedActions()), args);
  }

  static void run(SparkPeft line, String... args) {
    CommandResult result = line.run(args);
    result.print(System.out, System.err);
    if (result.exitCode() != 0) {
      throw result
          .failure()
          .orElseGet(() -> new IllegalStateException("spark-peft: " + result.error().strip()));
    }
  }
}
