package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.federated.cli.Actions.AdapterSource;
import org.sparkpeft.federated.cli.Actions.PredictRequest;
import org.sparkpeft.federated.config.Locations;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@picocli.CommandLine.Command(
    name = "predict",
    description = "Predict labels of texts, images or recordings.",
    footer = {
      "",
      "Examples:",
      "  spark-peft predict --run runs/quickstart --text \"my parcel never came\"",
      "  spark-peft predict --run runs/quickstart --data new.jsonl --out predictions",
      "  spark-peft predict --run runs/spoken-digits --file seven.wav",
      "  spark-peft predict --adapter a=adapters/a --adapter b=adapters/b:0.5 --head a"
          + " --model models/bert --text hello"
    })
final class PredictCommand implements Command {
  @Mixin private AdapterOptions adapter = new AdapterOptions();
  @Mixin private DataOptions data = new DataOptions();

  @Option(names = "--text", paramLabel = "TEXT", description = "A text; repeatable.")
  private List<String> texts = new ArrayList<>();

  @Option(
      names = "--file",
      paramLabel = "FILE",
      description = "An image or a WAV file; repeatable.")
  private List<String> files = new ArrayList<>();

  @Option(
      names = "--task-name",
      paramLabel = "NAME",
      description =
          "Task of --text or --file, for adapters trained with data.task (default: the first).")
  private String taskName = "";

  @Option(
      names = {"--text-column", "--image-column", "--audio-column"},
      paramLabel = "COLUMN",
      description =
          "Column of the text, image or recording in --data (default: that of the run, or text,"
              + " image, audio).")
  private String inputColumn = "";

  @Option(
      names = "--out",
      paramLabel = "FILE",
      description = "Where the rows of --data go, predictions added.")
  private String out = "";

  @Override
  public Outcome run(Context context) {
    Path directory = context.shell().directory();
    new Problems()
        .require(
            Stream.of(!texts.isEmpty(), !files.isEmpty(), data.given()).filter(b -> b).count() == 1,
            "--text, --file, --data",
            texts.isEmpty() && files.isEmpty() && !data.given() ? "none" : "several",
            "give one of the three")
        .require(
            data.given() != out.isEmpty(),
            "--out",
            out.isEmpty() ? "nothing" : out,
            data.given() ? "--data needs a place for its predictions" : "belongs to --data")
        .require(
            taskName.isEmpty() || !data.given(),
            "--task-name",
            taskName,
            "is for --text and --file; name a --task-column of --data")
        .throwIfAny();
    AdapterSource source = adapter.source(directory);
    return context
        .actions()
        .predict(
            new PredictRequest(
                source,
                texts,
                files.stream().map(file -> Locations.resolve(directory, file, "--file")).toList(),
                taskName,
                data.input(directory, source, inputColumn, ""),
                Locations.resolve(directory, out, "--out"),
                adapter.spark(source)));
  }
}
