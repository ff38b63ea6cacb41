package org.sparkpeft.federated.cli;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.federated.cli.Actions.TrainOptions;
import org.sparkpeft.federated.config.Locations;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.config.RecipeReader;
import org.sparkpeft.federated.config.Setting;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@picocli.CommandLine.Command(
    name = "quickstart",
    description = "Train a small example on bundled data and model: nothing to prepare.")
final class QuickstartCommand implements Command {
  /** conf/quickstart.yaml, which the build puts beside this class. */
  static final String RECIPE = "quickstart.yaml";

  @Option(
      names = "--dir",
      defaultValue = "runs/quickstart",
      paramLabel = "DIR",
      description = "Folder of the run (default: ${DEFAULT-VALUE}).")
  private String dir = "";

  @Option(names = "--resume", description = "Go on from the last complete round of the run.")
  private boolean resume;

  @Option(names = "--dry-run", description = "Check everything, train nothing.")
  private boolean dryRun;

  @Mixin private RecipeOptions recipe = new RecipeOptions();

  @Override
  public Outcome run(Context context) {
    Path directory = context.shell().directory();
    List<Setting> settings = new ArrayList<>();
    settings.add(Setting.text("run.dir", Locations.resolve(directory, dir, "--dir"), "--dir"));
    settings.addAll(recipe.settings());
    Recipe read = RecipeReader.parse(bundled(), RECIPE, directory, settings);
    try (ProgressBar progress = context.progress()) {
      return context.actions().quickstart(read, new TrainOptions(resume, dryRun), progress);
    }
  }

  private static String bundled() {
    try (InputStream in = QuickstartCommand.class.getResourceAsStream(RECIPE)) {
      if (in == null) {
        throw new IllegalStateException(
            RECIPE + " is not on the class path; build again with mvn package");
      }
      return new String(in.readAllBytes(), UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
