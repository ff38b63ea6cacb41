package org.sparkpeft.federated.cli;

import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.federated.config.Setting;
import picocli.CommandLine.Option;

/** Options that replace values of a recipe. */
final class RecipeOptions {
  @Option(
      names = "--set",
      paramLabel = "KEY=VALUE",
      description =
          "Replace a value of the recipe, for example --set train.local_epochs=2;"
              + " repeatable. The value is YAML; relative paths start at the recipe's folder.")
  private List<String> settings = new ArrayList<>();

  @Option(
      names = "--master",
      paramLabel = "URL",
      description = "Spark master, for example local[4] or spark://host:7077.")
  private String master = "";

  /** The master given, or empty. */
  String master() {
    return master;
  }

  /** Every replacement, in the order in which they apply. */
  List<Setting> settings() {
    List<Setting> all = new ArrayList<>();
    settings.forEach(keyValue -> all.add(Setting.parse(keyValue)));
    if (!master.isEmpty()) {
      all.add(Setting.text("spark.master", master, "--master"));
    }
    return all;
  }
}
