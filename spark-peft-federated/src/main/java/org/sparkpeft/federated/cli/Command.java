package org.sparkpeft.federated.cli;

/** One command with its options filled in. */
interface Command {
  Outcome run(Context context);

  /**
   * What commands work with.
   *
   * @param json whether the caller wants JSON, and so no progress
   */
  record Context(Actions actions, Shell shell, boolean json) {
    ProgressBar progress() {
      return ProgressBar.on(shell, json);
    }
  }
}
