package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.sparkpeft.core.peft.PeftMethod;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.config.RecipeReader;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@picocli.CommandLine.Command(
    name = "plan",
    description = "Say what a recipe would cost, with its method and with others; train nothing.",
    footer = {"", "Example: spark-peft plan -c conf/quickstart.yaml --methods LORA,IA3"})
final class PlanCommand implements Command {
  @Option(
      names = {"-c", "--config"},
      required = true,
      paramLabel = "RECIPE",
      description = "The recipe, a YAML file.")
  private Path config = Path.of("");

  @Option(
      names = "--methods",
      split = ",",
      paramLabel = "TYPE",
      description =
          "Methods to compare (default: all); those other than the recipe's take their defaults.")
  private List<String> methods = new ArrayList<>();

  @Mixin private RecipeOptions recipe = new RecipeOptions();

  @Override
  public Outcome run(Context context) {
    Recipe read = RecipeReader.read(context.shell().directory().resolve(config), recipe.settings());
    return context.actions().plan(read, types(methods));
  }

  /**
   * Checks names of methods; all of them if none is given.
   *
   * @throws org.sparkpeft.core.error.ConfigException if one is unknown
   */
  static List<String> types(List<String> named) {
    named.forEach(PeftMethods::named);
    return named.isEmpty()
        ? PeftMethods.all().stream().map(PeftMethod::peftType).toList()
        : List.copyOf(named);
  }
}
