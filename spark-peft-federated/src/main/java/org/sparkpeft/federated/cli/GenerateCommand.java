package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.federated.cli.Actions.GenerateRequest;
import org.sparkpeft.federated.config.Locations;
import picocli.CommandLine.Option;

@picocli.CommandLine.Command(
    name = "generate",
    description = "Continue texts with a language model, with or without an adapter.",
    footer = {
      "",
      "Examples:",
      "  spark-peft generate --model models/llama --text \"Once upon a time\"",
      "  spark-peft generate --run runs/language-model --text \"O Romeo\""
          + " --generation max_new_tokens=40 --generation do_sample=true"
    })
final class GenerateCommand implements Command {
  @Option(names = "--run", paramLabel = "DIR", description = "Folder of a run.")
  private String run = "";

  @Option(
      names = "--model",
      paramLabel = "DIR",
      description = "A Hugging Face directory of a language model.")
  private String model = "";

  @Option(
      names = "--adapter",
      paramLabel = "DIR",
      description = "Hugging Face PEFT directory of an adapter for --model.")
  private String adapter = "";

  @Option(
      names = "--text",
      paramLabel = "TEXT",
      required = true,
      description = "What to continue; of an encoder-decoder, what to read. Repeatable.")
  private List<String> texts = new ArrayList<>();

  @Option(
      names = "--generation",
      paramLabel = "KEY=VALUE",
      description =
          "A setting of generation_config.json in place of the model's: max_new_tokens, do_sample,"
              + " temperature, top_k, top_p, num_beams, seed, ...; repeatable.")
  private Map<String, String> settings = new TreeMap<>();

  @Option(
      names = "--max-length",
      defaultValue = "512",
      description = "Tokens kept of a text (default: ${DEFAULT-VALUE}).")
  private int maxLength;

  @Override
  public Outcome run(Context context) {
    new Problems()
        .require(
            run.isEmpty() != model.isEmpty(),
            "--run, --model",
            run.isEmpty() ? "neither" : "both",
            "give one of the two")
        .require(
            adapter.isEmpty() || !model.isEmpty(),
            "--adapter",
            adapter,
            "needs its base model, --model")
        .throwIfAny();
    Path directory = context.shell().directory();
    return context
        .actions()
        .generate(
            new GenerateRequest(
                run.isEmpty() ? "" : directory.resolve(run).toString(),
                Locations.resolve(directory, model, "--model"),
                Locations.resolve(directory, adapter, "--adapter"),
                texts,
                typed(settings),
                maxLength));
  }

  /** Numbers, truth values and words, as JSON would have them. */
  private static Map<String, Object> typed(Map<String, String> settings) {
    Map<String, Object> typed = new TreeMap<>();
    settings.forEach((key, value) -> typed.put(key, typed(value)));
    return typed;
  }

  private static Object typed(String value) {
    if (value.equals("true") || value.equals("false")) {
      return Boolean.valueOf(value);
    }
    if (value.matches("-?\\d{1,18}")) {
      long whole = Long.parseLong(value);
      return whole == (int) whole ? (Object) (int) whole : (Object) whole;
    }
    if (value.matches("-?\\d*\\.?\\d+(?:[eE][-+]?\\d+)?")) {
      return Double.valueOf(value);
    }
    return value;
  }
}
