package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import java.util.Optional;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.merge.adapter.AdapterFile;
import org.sparkpeft.merge.compress.Pipeline;
import picocli.CommandLine.Option;

@picocli.CommandLine.Command(
    name = "compress",
    description = "Compress an adapter into one file: its largest entries as signs, entropy-coded.",
    footer = {"", "Example: spark-peft compress --adapter adapter --density 0.1 --out a.spta"})
final class CompressCommand implements Command {
  @Option(
      names = "--adapter",
      required = true,
      paramLabel = "DIR",
      description = "Hugging Face PEFT directory.")
  private String adapter = "";

  @Option(
      names = "--reference",
      paramLabel = "DIR",
      description = "Adapter that training started from; only the difference to it is kept.")
  private String reference = "";

  @Option(
      names = "--density",
      defaultValue = "0.1",
      description = "Fraction of entries kept, in (0, 1] (default: ${DEFAULT-VALUE}).")
  private double density;

  @Option(
      names = "--pipeline",
      paramLabel = "STAGES",
      description = "Instead: sparsifier|quantiser|coder, as topk(0.05)|ternary(sigma, 4)|rice.")
  private String pipeline = "";

  @Option(names = "--out", required = true, paramLabel = "FILE", description = "The new file.")
  private String out = "";

  @Override
  public Outcome run(Context context) {
    new Problems()
        .require(density > 0 && density <= 1, "--density", density, "must be in (0, 1]")
        .throwIfAny();
    Path directory = context.shell().directory();
    Optional<Path> start =
        reference.isEmpty() ? Optional.empty() : Optional.of(directory.resolve(reference));
    AdapterFile file =
        AdapterFile.compress(directory.resolve(adapter), start, stages(), directory.resolve(out));
    return new Inspection(false).compressed(directory.resolve(out), file);
  }

  private Pipeline stages() {
    try {
      return Pipeline.parse(pipeline.isEmpty() ? "topk(" + density + ")|ternary(mean)" : pipeline);
    } catch (ConfigException e) {
      throw new ConfigException("--pipeline", e.problems().get(0).message());
    }
  }
}
