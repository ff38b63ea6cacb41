package org.sparkpeft.federated.cli;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.federated.cli.Actions.AdapterSource;
import org.sparkpeft.federated.config.Locations;
import org.sparkpeft.federated.config.ModelConfig;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.config.RecipeReader;
import org.sparkpeft.federated.config.RunConfig;
import org.sparkpeft.federated.config.Setting;
import org.sparkpeft.federated.config.SparkConfig;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Which adapter: that of a run, or a directory with its base model. */
final class AdapterOptions {
  @Option(names = "--run", paramLabel = "DIR", description = "Folder of a run.")
  private String run = "";

  @Option(
      names = "--adapter",
      paramLabel = "DIR",
      description = "Hugging Face PEFT directory; needs --model.")
  private String adapter = "";

  @Option(
      names = "--model",
      paramLabel = "DIR",
      description = "Base model of --adapter: a Hugging Face directory.")
  private String model = "";

  @Option(
      names = "--task",
      defaultValue = "text-classification",
      description = "Task of --adapter (default: ${DEFAULT-VALUE}).")
  private String task = "";

  @Option(
      names = "--max-length",
      defaultValue = "64",
      description = "Tokens kept of a text with --adapter (default: ${DEFAULT-VALUE}).")
  private int maxLength;

  @Option(
      names = "--pooling",
      defaultValue = "auto",
      description = "auto, cls or mean, with --adapter (default: ${DEFAULT-VALUE}).")
  private String pooling = "";

  @Option(
      names = "--labels",
      split = ",",
      paramLabel = "NAME",
      description = "Class names in index order, where --adapter does not know them.")
  private List<String> labels = new ArrayList<>();

  @Mixin private RecipeOptions recipe = new RecipeOptions();

  AdapterSource source(Path directory) {
    new Problems()
        .require(
            run.isEmpty() != adapter.isEmpty(),
            "--run, --adapter",
            run.isEmpty() ? "neither" : "both",
            "give one of the two")
        .require(
            adapter.isEmpty() != !model.isEmpty(),
            "--model",
            model.isEmpty() ? "nothing" : model,
            adapter.isEmpty() ? "belongs to --adapter" : "--adapter needs its base model")
        .require(
            adapter.isEmpty() || recipeSettings().isEmpty(),
            "--set",
            recipeSettings(),
            "changes the recipe of a --run; --adapter has none")
        .throwIfAny();
    return run.isEmpty() ? fromDirectory(directory) : fromRun(directory.resolve(run));
  }

  private List<String> recipeSettings() {
    return recipe.settings().stream()
        .filter(setting -> !setting.key().equals("spark.master"))
        .map(Setting::key)
        .toList();
  }

  private AdapterSource fromDirectory(Path directory) {
    return new AdapterSource.FromDirectory(
        Locations.resolve(directory, adapter, "--adapter"),
        new ModelConfig(
            Locations.resolve(directory, model, "--model"), task, maxLength, pooling, false),
        labels);
  }

  private AdapterSource fromRun(Path folder) {
    Path config = folder.resolve("config.yaml");
    if (!Files.isRegularFile(config)) {
      throw new ConfigException("--run", "is no folder of a run, no config.yaml in " + folder);
    }
    Recipe read = RecipeReader.read(config, recipe.settings());
    // The folder may have been moved since it was written.
    RunConfig here = read.run().withDir(folder.toAbsolutePath().normalize().toString());
    return new AdapterSource.FromRun(read.withPlaces(here, read.model(), read.data()));
  }

  /** The Spark section that goes with {@code source}. */
  SparkConfig spark(AdapterSource source) {
    if (source instanceof AdapterSource.FromRun fromRun) {
      return fromRun.recipe().spark();
    }
    SparkConfig defaults = SparkConfig.defaults();
    return recipe.master().isEmpty() ? defaults : defaults.withMaster(recipe.master());
  }
}
