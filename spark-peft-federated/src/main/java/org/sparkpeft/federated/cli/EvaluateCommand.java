package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.federated.cli.Actions.AdapterSource;
import org.sparkpeft.federated.cli.Actions.EvaluateRequest;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@picocli.CommandLine.Command(
    name = "evaluate",
    description = "Measure an adapter on test data.",
    footer = {
      "",
      "Examples:",
      "  spark-peft evaluate --run runs/quickstart",
      "  spark-peft evaluate --adapter runs/a/adapter --model models/bert --data test.jsonl"
          + " --text text --label label"
    })
final class EvaluateCommand implements Command {
  @Mixin private AdapterOptions adapter = new AdapterOptions();
  @Mixin private DataOptions data = new DataOptions();

  @Option(
      names = {"--text", "--image", "--audio"},
      paramLabel = "COLUMN",
      description = "Column of the text, image or recording.")
  private String input = "";

  @Option(names = "--label", paramLabel = "COLUMN", description = "Column of the label.")
  private String label = "";

  @Override
  public Outcome run(Context context) {
    Path directory = context.shell().directory();
    AdapterSource source = adapter.source(directory);
    new Problems()
        .require(
            data.given() || hasTestData(source),
            "--data",
            "nothing",
            "name the data to evaluate on")
        .throwIfAny();
    return context
        .actions()
        .evaluate(
            new EvaluateRequest(
                source, data.input(directory, source, input, label), adapter.spark(source)));
  }

  private static boolean hasTestData(AdapterSource source) {
    return source instanceof AdapterSource.FromRun run && !run.recipe().data().test().isEmpty();
  }
}
