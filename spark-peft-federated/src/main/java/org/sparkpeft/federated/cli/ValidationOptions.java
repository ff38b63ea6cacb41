package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.federated.config.DataConfig;
import org.sparkpeft.federated.config.EvaluateConfig;
import org.sparkpeft.federated.config.Locations;
import org.sparkpeft.merge.recipe.SearchConfig;
import org.sparkpeft.merge.recipe.SearchTask;
import picocli.CommandLine.Option;

/** Validation data that candidates of a search are tried on. */
final class ValidationOptions {
  @Option(
      names = "--search-data",
      paramLabel = "FILE",
      description =
          "Validation rows to find the numbers on: what Spark reads with --search-format, or a"
              + " table name.")
  private String data = "";

  @Option(
      names = "--search-format",
      description = "json, csv, parquet, orc, text, table, ... (default: json).")
  private Optional<String> format = Optional.empty();

  @Option(
      names = "--search-option",
      paramLabel = "KEY=VALUE",
      description = "Option of Spark's reader, for example header=true; repeatable.")
  private Map<String, String> options = new TreeMap<>();

  @Option(
      names = "--text",
      paramLabel = "COLUMN",
      description = "Column of the text (default: text).")
  private Optional<String> text = Optional.empty();

  @Option(
      names = "--label",
      paramLabel = "COLUMN",
      description = "Column of the label (default: label).")
  private Optional<String> label = Optional.empty();

  @Option(
      names = "--task-column",
      paramLabel = "COLUMN",
      description =
          "Column of the task, for adapters trained with data.task (default: none, the first task).")
  private String taskColumn = "";

  @Option(
      names = "--head",
      paramLabel = "DIR",
      description = "Adapter whose task head and labels are used (default: the result's own).")
  private String head = "";

  @Option(
      names = "--labels",
      split = ",",
      paramLabel = "NAME",
      description = "Class names in index order, where the adapter does not know them.")
  private List<String> labels = new ArrayList<>();

  @Option(
      names = "--model",
      paramLabel = "DIR",
      description = "Base model to try candidates on (default: what the adapter says).")
  private String model = "";

  @Option(
      names = "--metric",
      description = "accuracy, macro_f1, micro_f1, mcc, pearson, mse or loss (default: accuracy).")
  private Optional<String> metric = Optional.empty();

  boolean given() {
    return !data.isEmpty();
  }

  /** Whether anything is said that only makes sense with a search. */
  boolean isSet() {
    return given() || describesData() || metric.isPresent() || !model.isEmpty();
  }

  private boolean describesData() {
    return format.isPresent()
        || !options.isEmpty()
        || text.isPresent()
        || label.isPresent()
        || !taskColumn.isEmpty()
        || !head.isEmpty()
        || !labels.isEmpty();
  }

  /** Options of a search without data to search on. */
  static ConfigException noData() {
    return new ConfigException("--search-data", "a search needs validation data; name it");
  }

  /**
   * The settings with those given here.
   *
   * @param base settings of the search apart from these
   */
  SearchConfig over(SearchConfig base, Path directory) {
    if (!given() && describesData()) {
      throw noData();
    }
    SearchTask d = SearchTask.defaults();
    String as = format.orElse(d.format());
    List<SearchTask> tasks =
        given()
            ? List.of(
                new SearchTask(
                    as.equals(DataConfig.TABLE)
                        ? data
                        : Locations.resolve(directory, data, "--search-data"),
                    as,
                    options,
                    text.orElse(d.text()),
                    d.textPair(),
                    label.orElse(d.label()),
                    taskColumn,
                    Locations.resolve(directory, head, "--head"),
                    labels,
                    d.task(),
                    d.pooling(),
                    d.maxLength()))
            : base.tasks();
    metric.ifPresent(
        named ->
            new Problems()
                .require(
                    EvaluateConfig.SCORES.contains(named),
                    "--metric",
                    named,
                    "must be one of " + String.join(", ", EvaluateConfig.SCORES))
                .throwIfAny());
    String where = model.isEmpty() ? base.model() : Locations.resolve(directory, model, "--model");
    return new SearchConfig(
        base.method(),
        base.over(),
        metric.orElse(base.metric()),
        base.evaluations(),
        base.penalty(),
        base.seed(),
        where,
        base.weights(),
        base.density(),
        base.lambda(),
        tasks);
  }
}
