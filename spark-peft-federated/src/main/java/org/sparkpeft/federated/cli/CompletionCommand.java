package org.sparkpeft.federated.cli;

import java.util.Map;
import picocli.AutoComplete;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Spec;

@picocli.CommandLine.Command(
    name = "completion",
    description = "Print a completion script for bash and zsh: source <(spark-peft completion)")
final class CompletionCommand implements Command {
  // picocli fills this in before any option is read.
  @Spec private CommandSpec spec = CommandSpec.create();

  @Override
  public Outcome run(Context context) {
    String script = AutoComplete.bash("spark-peft", spec.root().commandLine());
    return Outcome.of(script, Map.of("script", script));
  }
}
