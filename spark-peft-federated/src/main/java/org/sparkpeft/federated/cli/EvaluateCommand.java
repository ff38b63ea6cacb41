package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.metric.TextMetric;
import org.sparkpeft.federated.cli.Actions.AdapterSource;
import org.sparkpeft.federated.cli.Actions.EvaluateRequest;
import org.sparkpeft.federated.config.EvaluateConfig;
import org.sparkpeft.federated.config.GenerateConfig;
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
          + " --text text --label label",
      "  spark-peft evaluate --run runs/pronunciation --metrics exact_match,wer"
          + " --generation num_beams=4"
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

  @Option(
      names = "--text-pair",
      paramLabel = "COLUMN",
      description = "Column of the second text, or of what should be said.")
  private String textPair = "";

  @Option(
      names = "--metrics",
      split = ",",
      paramLabel = "NAME",
      description =
          "exact_match, gsm8k, rouge_l, wer: generate a text for each row and compare it with what"
              + " should be said (default: those of the run).")
  private List<String> metrics = new ArrayList<>();

  @Option(
      names = "--generation",
      paramLabel = "KEY=VALUE",
      description =
          "A setting of generation_config.json for --metrics, in place of the model's; repeatable.")
  private Map<String, String> generation = new TreeMap<>();

  @Option(
      names = "--max-examples",
      paramLabel = "N",
      description = "Rows to generate for; 0: all (default: that of the run, or all).")
  private Optional<Integer> maxExamples = Optional.empty();

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
    EvaluateConfig own =
        source instanceof AdapterSource.FromRun run
            ? run.recipe().evaluate()
            : EvaluateConfig.defaults();
    return context
        .actions()
        .evaluate(
            new EvaluateRequest(
                source,
                data.input(directory, source, input, textPair, label),
                metrics.isEmpty() ? own.textMetrics() : textMetrics(),
                generate(own.generate()),
                adapter.spark(source)));
  }

  private List<TextMetric> textMetrics() {
    Problems problems = new Problems();
    for (String name : metrics) {
      problems.require(
          TextMetric.named(name).isPresent(),
          "--metrics",
          name,
          "each must be one of "
              + String.join(", ", TextMetric.names())
              + "; what needs no texts is always shown");
    }
    problems.throwIfAny();
    return metrics.stream().distinct().flatMap(name -> TextMetric.named(name).stream()).toList();
  }

  private GenerateConfig generate(GenerateConfig own) {
    Map<String, String> settings = new TreeMap<>(own.settings());
    settings.putAll(generation);
    return new GenerateConfig(
        own.every(),
        maxExamples.orElse(own.maxExamples()),
        settings,
        own.proxyFor(),
        own.proxyAlpha());
  }

  private static boolean hasTestData(AdapterSource source) {
    return source instanceof AdapterSource.FromRun run && !run.recipe().data().test().isEmpty();
  }
}
