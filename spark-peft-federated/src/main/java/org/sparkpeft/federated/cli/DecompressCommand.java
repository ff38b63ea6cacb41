package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import org.sparkpeft.merge.adapter.AdapterFile;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@picocli.CommandLine.Command(
    name = "decompress",
    description = "Make a Hugging Face PEFT directory of a compressed adapter.",
    footer = {"", "Example: spark-peft decompress a.spta --out adapter"})
final class DecompressCommand implements Command {
  @Parameters(paramLabel = "FILE", description = "What compress wrote.")
  private String file = "";

  @Option(
      names = "--reference",
      paramLabel = "DIR",
      description = "The adapter it was compressed against, if there was one.")
  private String reference = "";

  @Option(names = "--out", required = true, paramLabel = "DIR", description = "The new folder.")
  private String out = "";

  @Override
  public Outcome run(Context context) {
    Path directory = context.shell().directory();
    Optional<Path> start =
        reference.isEmpty() ? Optional.empty() : Optional.of(directory.resolve(reference));
    Path target = directory.resolve(out);
    AdapterFile read = AdapterFile.read(directory.resolve(file));
    read.decompress(target, start);
    int tensors = read.vector().layout().entries().size();
    return Outcome.of(
        "%,d parameters in %d tensors%nadapter  %s"
            .formatted(read.vector().size(), tensors, target),
        Map.of(
            "parameters",
            (long) read.vector().size(),
            "tensors",
            tensors,
            "out",
            target.toString()));
  }
}
