package org.sparkpeft.federated.cli;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
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

/** Which adapter: that of a run, or one or several directories with their base model. */
final class AdapterOptions {
  @Option(names = "--run", paramLabel = "DIR", description = "Folder of a run.")
  private String run = "";

  @Option(
      names = "--adapter",
      paramLabel = "DIR",
      description =
          "Hugging Face PEFT directory; needs --model. As NAME=DIR or NAME=DIR:WEIGHT repeatable:"
              + " adapters act on top of each other, the first innermost.")
  private List<String> adapters = new ArrayList<>();

  @Option(
      names = "--head",
      paramLabel = "NAME",
      description = "Whose task head is used, where several adapters have one.")
  private String head = "";

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

  private static final Pattern NAMED =
      Pattern.compile("([\\w-]+)=(.+?)(?::([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?))?");

  AdapterSource source(Path directory) {
    new Problems()
        .require(
            run.isEmpty() != adapters.isEmpty(),
            "--run, --adapter",
            run.isEmpty() ? "neither" : "both",
            "give one of the two")
        .require(
            adapters.isEmpty() != !model.isEmpty(),
            "--model",
            model.isEmpty() ? "nothing" : model,
            adapters.isEmpty() ? "belongs to --adapter" : "--adapter needs its base model")
        .require(
            adapters.isEmpty() || recipeSettings().isEmpty(),
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
    ModelConfig base =
        new ModelConfig(
            Locations.resolve(directory, model, "--model"), task, maxLength, pooling, false);
    if (adapters.size() == 1 && !NAMED.matcher(adapters.get(0)).matches()) {
      new Problems()
          .require(head.isEmpty(), "--head", head, "is for several adapters")
          .throwIfAny();
      return new AdapterSource.FromDirectory(
          Locations.resolve(directory, adapters.get(0), "--adapter"), base, labels);
    }
    List<AdapterSource.Named> named =
        adapters.stream().map(text -> named(directory, text)).toList();
    List<String> names = named.stream().map(AdapterSource.Named::name).toList();
    new Problems()
        .require(
            names.stream().distinct().count() == names.size(),
            "--adapter",
            names,
            "each needs a name of its own")
        .require(head.isEmpty() || names.contains(head), "--head", head, "must be one of " + names)
        .throwIfAny();
    return new AdapterSource.Stack(named, base, labels, head);
  }

  private static AdapterSource.Named named(Path directory, String text) {
    Matcher parts = NAMED.matcher(text);
    if (!parts.matches()) {
      throw new ConfigException(
          "--adapter", "several need names, as in a=DIR or a=DIR:0.5; got " + text);
    }
    String weight = parts.group(3);
    try {
      return new AdapterSource.Named(
          parts.group(1),
          Locations.resolve(directory, parts.group(2), "--adapter"),
          weight == null ? 1 : Float.parseFloat(weight));
    } catch (NumberFormatException e) {
      throw new ConfigException("--adapter", weight + " is no weight, in " + text);
    }
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
