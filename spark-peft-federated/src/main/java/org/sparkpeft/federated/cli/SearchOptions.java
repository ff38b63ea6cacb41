package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.sparkpeft.merge.recipe.SearchConfig;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** How the numbers of a merge are found; with a recipe these replace what its section says. */
final class SearchOptions {
  @Option(
      names = "--search",
      paramLabel = "METHOD",
      description =
          "grid, nelder_mead or cma_es: find the weights of adapters on --search-data (default:"
              + " cma_es).")
  private Optional<String> method = Optional.empty();

  @Option(
      names = "--search-over",
      split = ",",
      paramLabel = "NUMBER",
      description = "weights, density, lambda: which of them to find (default: weights).")
  private List<String> over = new ArrayList<>();

  @Option(
      names = "--search-values",
      split = ",",
      paramLabel = "NUMBER",
      description = "What a grid tries for each number.")
  private List<Double> values = new ArrayList<>();

  @Option(
      names = "--evaluations",
      description = "Most candidates of nelder_mead and cma_es (default: 40).")
  private Optional<Integer> evaluations = Optional.empty();

  @Mixin private ValidationOptions validation = new ValidationOptions();

  /**
   * The search, if there is to be one.
   *
   * @param ofRecipe that of the recipe
   * @param mergeMethod decides some defaults
   * @param seed default of the search's
   */
  Optional<SearchConfig> config(
      Optional<SearchConfig> ofRecipe, String mergeMethod, long seed, Path directory) {
    if (ofRecipe.isEmpty() && !validation.given()) {
      if (method.isPresent()
          || !over.isEmpty()
          || !values.isEmpty()
          || evaluations.isPresent()
          || validation.isSet()) {
        throw ValidationOptions.noData();
      }
      return Optional.empty();
    }
    SearchConfig base = ofRecipe.orElseGet(() -> SearchConfig.defaults(mergeMethod));
    SearchConfig.Range weights =
        values.isEmpty() ? base.weights() : base.weights().withValues(values);
    List<String> numbers = over.isEmpty() ? base.over() : over;
    SearchConfig replaced =
        new SearchConfig(
            method.orElse(base.method()),
            numbers,
            base.metric(),
            evaluations.orElse(base.evaluations()),
            base.penalty(),
            ofRecipe.isPresent() ? base.seed() : seed,
            base.model(),
            numbers.contains("weights") ? weights : base.weights(),
            given(numbers, "density") ? base.density().withValues(values) : base.density(),
            given(numbers, "lambda") ? base.lambda().withValues(values) : base.lambda(),
            base.tasks());
    return Optional.of(validation.over(replaced, directory));
  }

  private boolean given(List<String> numbers, String name) {
    return numbers.contains(name) && !values.isEmpty();
  }
}
