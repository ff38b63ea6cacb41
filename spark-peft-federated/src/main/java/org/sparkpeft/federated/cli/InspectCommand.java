package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.BundledModel;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.federated.config.Locations;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@picocli.CommandLine.Command(
    name = "inspect",
    description =
        "Show what is in a model, adapter or run folder, a .safetensors file or a compressed"
            + " adapter.")
final class InspectCommand implements Command {
  @Parameters(paramLabel = "PATH", description = "A folder, a file, or bundled:all-MiniLM-L6-v2.")
  private String path = "";

  @Option(names = "--tensors", description = "List every tensor.")
  private boolean tensors;

  @Override
  public Outcome run(Context context) {
    if (BundledModel.isBundled(path)) {
      return new Inspection(tensors).model(ModelDirectory.resolve(path));
    }
    if (Locations.isUri(path)) {
      throw new DataException("only local files and folders can be inspected, got " + path);
    }
    Path file = context.shell().directory().resolve(path);
    return new Inspection(tensors).of(file);
  }
}
