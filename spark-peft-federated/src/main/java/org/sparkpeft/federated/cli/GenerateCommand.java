package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.federated.cli.Actions.GenerateRequest;
import org.sparkpeft.federated.cli.Actions.InputData;
import org.sparkpeft.federated.cli.Actions.ProxyInput;
import org.sparkpeft.federated.config.DataConfig;
import org.sparkpeft.federated.config.GenerateConfig;
import org.sparkpeft.federated.config.Locations;
import org.sparkpeft.federated.config.SparkConfig;
import picocli.CommandLine.Option;

@picocli.CommandLine.Command(
    name = "generate",
    description = "Continue texts with a language model, with or without an adapter.",
    footer = {
      "",
      "Examples:",
      "  spark-peft generate --model models/llama --text \"Once upon a time\"",
      "  spark-peft generate --run runs/language-model --text \"O Romeo\""
          + " --generation max_new_tokens=40 --generation do_sample=true",
      "  spark-peft generate --run runs/language-model --data prompts.jsonl --out answers",
      "  spark-peft generate --model models/large --proxy models/small"
          + " --proxy-adapter runs/small/adapter --text \"O Romeo\""
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
      description = "What to continue; of an encoder-decoder, what to read. Repeatable.")
  private List<String> texts = new ArrayList<>();

  @Option(
      names = "--data",
      paramLabel = "FILE",
      description = "Rows with the texts, in place of --text: what Spark reads with --format.")
  private String data = "";

  @Option(
      names = "--format",
      defaultValue = "json",
      description =
          "json, csv, parquet, orc, text, table, ... of --data (default: ${DEFAULT-VALUE}).")
  private String format = "";

  @Option(
      names = "--option",
      paramLabel = "KEY=VALUE",
      description = "Option of Spark's reader, for example header=true; repeatable.")
  private Map<String, String> options = new TreeMap<>();

  @Option(
      names = "--text-column",
      paramLabel = "COLUMN",
      defaultValue = "text",
      description = "Column of the text in --data (default: ${DEFAULT-VALUE}).")
  private String textColumn = "";

  @Option(
      names = "--task-name",
      paramLabel = "NAME",
      description = "Task of --text, for adapters trained with data.task (default: the first).")
  private String taskName = "";

  @Option(
      names = "--task-column",
      paramLabel = "COLUMN",
      description =
          "Column of the task in --data, for adapters trained with data.task (default: none, the"
              + " first task).")
  private String taskColumn = "";

  @Option(
      names = "--out",
      paramLabel = "FILE",
      description = "Where the rows of --data go, with a column \"generated\" added.")
  private String out = "";

  @Option(
      names = "--master",
      paramLabel = "URL",
      description = "Spark master for --data (default: all cores of this machine).")
  private String master = "";

  @Option(
      names = "--generation",
      paramLabel = "KEY=VALUE",
      description =
          "A setting of generation_config.json in place of the model's: max_new_tokens, do_sample,"
              + " temperature, top_k, top_p, num_beams, seed, ...; repeatable.")
  private Map<String, String> settings = new TreeMap<>();

  @Option(
      names = "--proxy",
      paramLabel = "DIR",
      description =
          "A smaller model with the same tokenizer: what --proxy-adapter changes in its logits is"
              + " added to those of the model (proxy tuning).")
  private String proxy = "";

  @Option(
      names = "--proxy-adapter",
      paramLabel = "DIR",
      description = "Hugging Face PEFT directory of an adapter for --proxy.")
  private String proxyAdapter = "";

  @Option(
      names = "--proxy-base",
      paramLabel = "DIR",
      description =
          "The smaller model before it was trained, where --proxy is one trained in full (default:"
              + " --proxy without its adapter).")
  private String proxyBase = "";

  @Option(
      names = "--proxy-alpha",
      paramLabel = "ALPHA",
      defaultValue = "1",
      description = "Strength of --proxy; 0 changes nothing (default: ${DEFAULT-VALUE}).")
  private double proxyAlpha;

  @Option(
      names = "--perplexity",
      description = "Say how unexpected each --text is, in place of continuing it.")
  private boolean perplexity;

  @Option(
      names = "--max-length",
      defaultValue = "512",
      description =
          "Tokens kept of a text, where neither a run nor the adapter says (default:"
              + " ${DEFAULT-VALUE}).")
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
        .require(
            texts.isEmpty() != data.isEmpty(),
            "--text, --data",
            data.isEmpty() ? "neither" : "both",
            "give one of the two")
        .require(
            data.isEmpty() == out.isEmpty(),
            "--out",
            out.isEmpty() ? "nothing" : out,
            data.isEmpty() ? "belongs to --data" : "--data needs a place for its rows")
        .require(
            !proxy.isEmpty() || (proxyAdapter.isEmpty() && proxyBase.isEmpty()),
            "--proxy",
            "nothing",
            "--proxy-adapter and --proxy-base need it")
        .require(
            proxy.isEmpty() || !proxyAdapter.isEmpty() || !proxyBase.isEmpty(),
            "--proxy",
            proxy,
            "needs --proxy-adapter, or --proxy-base for a model trained in full")
        .require(
            taskName.isEmpty() || data.isEmpty(),
            "--task-name",
            taskName,
            "is for --text; name a --task-column of --data")
        .require(Double.isFinite(proxyAlpha), "--proxy-alpha", proxyAlpha, "must be finite")
        .require(!perplexity || data.isEmpty(), "--perplexity", data, "is for --text, not --data")
        .throwIfAny();
    Path directory = context.shell().directory();
    Optional<InputData> rows =
        data.isEmpty()
            ? Optional.empty()
            : Optional.of(
                new InputData(
                    format.equals(DataConfig.TABLE)
                        ? data
                        : Locations.resolve(directory, data, "--data"),
                    format,
                    options,
                    textColumn,
                    "",
                    "",
                    "",
                    taskColumn));
    return context
        .actions()
        .generate(
            new GenerateRequest(
                run.isEmpty() ? "" : directory.resolve(run).toString(),
                Locations.resolve(directory, model, "--model"),
                Locations.resolve(directory, adapter, "--adapter"),
                texts,
                taskName,
                GenerateConfig.typed(settings),
                maxLength,
                rows,
                Locations.resolve(directory, out, "--out"),
                master.isEmpty()
                    ? SparkConfig.defaults()
                    : SparkConfig.defaults().withMaster(master),
                proxy(directory),
                perplexity));
  }

  private Optional<ProxyInput> proxy(Path directory) {
    return proxy.isEmpty()
        ? Optional.empty()
        : Optional.of(
            new ProxyInput(
                Locations.resolve(directory, proxy, "--proxy"),
                Locations.resolve(directory, proxyAdapter, "--proxy-adapter"),
                Locations.resolve(directory, proxyBase, "--proxy-base"),
                proxyAlpha));
  }
}
