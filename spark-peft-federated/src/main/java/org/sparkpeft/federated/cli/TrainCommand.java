package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import org.sparkpeft.federated.cli.Actions.TrainOptions;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.config.RecipeReader;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@picocli.CommandLine.Command(
    name = "train",
    description = "Train the run a recipe describes.",
    footer = {"", "Example: spark-peft train -c conf/intents-snips.yaml --master local[4]"})
final class TrainCommand implements Command {
  @Option(
      names = {"-c", "--config"},
      required = true,
      paramLabel = "RECIPE",
      description = "The recipe, a YAML file.")
  private Path config = Path.of("");

  @Option(names = "--resume", description = "Go on from the last complete round of the run.")
  private boolean resume;

  @Option(
      names = "--dry-run",
      description = "Check recipe, data and model and say what would happen; write nothing.")
  private boolean dryRun;

  @Mixin private RecipeOptions recipe = new RecipeOptions();

  @Override
  public Outcome run(Context context) {
    Recipe read = RecipeReader.read(context.shell().directory().resolve(config), recipe.settings());
    try (ProgressBar progress = context.progress()) {
      return context.actions().train(read, new TrainOptions(resume, dryRun), progress);
    }
  }
}
