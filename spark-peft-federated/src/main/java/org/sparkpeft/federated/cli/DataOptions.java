package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.sparkpeft.federated.cli.Actions.AdapterSource;
import org.sparkpeft.federated.cli.Actions.InputData;
import org.sparkpeft.federated.config.DataConfig;
import org.sparkpeft.federated.config.Locations;
import picocli.CommandLine.Option;

/** Rows given on the command line; columns left out are those of the run. */
final class DataOptions {
  @Option(
      names = "--data",
      paramLabel = "FILE",
      description = "Rows: what Spark reads with --format, or a table name.")
  private String data = "";

  @Option(
      names = "--format",
      description =
          "json, csv, parquet, orc, text, table, ... (default: that of the run, or json).")
  private String format = "";

  @Option(
      names = "--option",
      paramLabel = "KEY=VALUE",
      description = "Option of Spark's reader, for example header=true; repeatable.")
  private Map<String, String> options = new TreeMap<>();

  @Option(
      names = "--task-column",
      paramLabel = "COLUMN",
      description =
          "Column of the task in --data, for adapters trained with data.task (default: that of the"
              + " run, or none: the first task).")
  private String task = "";

  boolean given() {
    return !data.isEmpty();
  }

  /**
   * The rows, if some were given.
   *
   * @param input column of the text, image or recording, empty for that of the run
   * @param label column of the label, likewise
   */
  Optional<InputData> input(Path directory, AdapterSource source, String input, String label) {
    return input(directory, source, input, "", label);
  }

  /**
   * The rows, if some were given.
   *
   * @param pair column of the second text; empty for that of the run, where {@code input} is its
   *     own too
   */
  Optional<InputData> input(
      Path directory, AdapterSource source, String input, String pair, String label) {
    if (data.isEmpty()) {
      return Optional.empty();
    }
    DataConfig columns =
        source instanceof AdapterSource.FromRun run ? run.recipe().data() : DataConfig.defaults();
    String as = orElse(format, columns.format());
    return Optional.of(
        new InputData(
            as.equals(DataConfig.TABLE) ? data : Locations.resolve(directory, data, "--data"),
            as,
            options.isEmpty() && as.equals(columns.format()) ? columns.options() : options,
            orElse(input, columns.input(task(source))),
            pair.isEmpty() && input.isEmpty() ? columns.textPair() : pair,
            input.isEmpty() ? columns.rejected() : "",
            orElse(label, columns.label()),
            orElse(task, columns.task())));
  }

  private static String task(AdapterSource source) {
    if (source instanceof AdapterSource.FromRun run) {
      return run.recipe().model().task();
    }
    return source instanceof AdapterSource.Stack stack
        ? stack.model().task()
        : ((AdapterSource.FromDirectory) source).model().task();
  }

  private static String orElse(String given, String otherwise) {
    return given.isEmpty() ? otherwise : given;
  }
}
