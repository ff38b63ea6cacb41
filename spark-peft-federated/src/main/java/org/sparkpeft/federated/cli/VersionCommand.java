package org.sparkpeft.federated.cli;

import java.util.Map;
import java.util.stream.Collectors;
import org.sparkpeft.federated.round.Versions;

@picocli.CommandLine.Command(
    name = "version",
    description = "Show the versions of everything that decides a result.")
final class VersionCommand implements Command {
  @Override
  public Outcome run(Context context) {
    Map<String, String> versions = Versions.running();
    String lines =
        versions.entrySet().stream()
            .map(entry -> "%-11s %s".formatted(entry.getKey(), entry.getValue()))
            .collect(Collectors.joining("\n"));
    return Outcome.of(lines, versions);
  }
}
