package org.sparkpeft.federated.cli;

/** Entry point of a process of its own: {@code bin/spark-peft} and {@code spark-submit}. */
public final class Main {
  private Main() {}

  public static void main(String[] args) {
    // A driver that Databricks shares between jobs must not be ended from inside.
    if (!System.getenv().getOrDefault("DATABRICKS_RUNTIME_VERSION", "").isEmpty()) {
      JobMain.main(args);
      return;
    }
    CommandResult result = new SparkPeft(new FederatedActions()).run(args);
    result.print(System.out, System.err);
    // Native and Spark threads may outlive main, and the caller waits for the exit code.
    System.exit(result.exitCode());
  }
}
