package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@picocli.CommandLine.Command(
    name = "pull",
    description =
        "Fetch a model from a Hugging Face hub: HF_ENDPOINT says which, HF_TOKEN opens closed"
            + " models. An interrupted download goes on where it stopped.")
final class PullCommand implements Command {
  @Parameters(paramLabel = "ORG/NAME", description = "The model.")
  private String name = "";

  @Option(
      names = "--revision",
      defaultValue = "main",
      description = "Branch, tag or commit (default: ${DEFAULT-VALUE}).")
  private String revision = "";

  @Option(
      names = "--out",
      paramLabel = "DIR",
      description = "Where the model goes (default: models/NAME).")
  private String out = "";

  @Override
  public Outcome run(Context context) {
    Path folder =
        out.isEmpty() ? Path.of("models", name.substring(name.indexOf('/') + 1)) : Path.of(out);
    return context
        .actions()
        .pull(
            name,
            revision,
            context.shell().directory().resolve(folder),
            context.shell().variables(),
            context.json() ? file -> {} : context.shell().progress()::println);
  }
}
