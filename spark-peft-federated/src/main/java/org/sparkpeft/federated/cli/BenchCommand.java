package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.config.RecipeReader;
import org.sparkpeft.federated.config.Setting;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@picocli.CommandLine.Command(
    name = "bench",
    description = "Measure merging, compressing and training methods on this machine.",
    subcommands = {
      BenchCommand.Merge.class,
      BenchCommand.Codecs.class,
      BenchCommand.Train.class,
      BenchCommand.Methods.class,
      BenchCommand.Clients.class
    })
final class BenchCommand {

  @picocli.CommandLine.Command(
      name = "merge",
      description = "Each method on vectors in memory, against a plain copy of the same bytes.")
  static final class Merge implements Command {
    @Option(
        names = "--entries",
        defaultValue = "8000000",
        description = "Entries of each vector (default: ${DEFAULT-VALUE}).")
    private int entries;

    @Option(
        names = "--vectors",
        defaultValue = "3",
        description = "Number of vectors (default: ${DEFAULT-VALUE}).")
    private int vectors;

    @Override
    public Outcome run(Context context) {
      new Problems()
          .require(
              entries >= 1000 && entries <= 100_000_000, "--entries", entries, "must be 1000..1e8")
          .require(vectors >= 2 && vectors <= 16, "--vectors", vectors, "must be 2..16")
          .throwIfAny();
      return Table.of(MergeBench.COLUMNS, MergeBench.run(vectors, entries));
    }
  }

  @picocli.CommandLine.Command(
      name = "codec",
      description = "Size and speed of payloads on one core, against general compressors.")
  static final class Codecs implements Command {
    @Option(
        names = "--entries",
        defaultValue = "4000000",
        description = "Entries of each synthetic vector (default: ${DEFAULT-VALUE}).")
    private int entries;

    @Option(
        names = "--adapter",
        paramLabel = "DIR",
        description = "Also measure this adapter's values.")
    private String adapter = "";

    @Option(
        names = "--densities",
        split = ",",
        defaultValue = "0.001,0.005,0.05,0.2,0.5",
        description = "Fractions kept (default: ${DEFAULT-VALUE}).")
    private List<Double> densities = new ArrayList<>();

    @Override
    public Outcome run(Context context) {
      Problems problems = new Problems();
      problems.require(
          entries >= 1000 && entries <= 100_000_000, "--entries", entries, "must be 1000..1e8");
      for (double density : densities) {
        problems.require(density > 0 && density <= 1, "--densities", density, "must be in (0, 1]");
      }
      problems.throwIfAny();
      Optional<Path> directory =
          adapter.isEmpty()
              ? Optional.empty()
              : Optional.of(context.shell().directory().resolve(adapter));
      return Table.of(CodecBench.COLUMNS, CodecBench.run(entries, densities, directory));
    }
  }

  @picocli.CommandLine.Command(
      name = "clients",
      description = "Train the same clients one by one and in shared passes, in turns.")
  static final class Clients implements Command {
    private static final String RECIPE =
        """
        run: {name: bench-clients}
        data: {train: made-up, test: ''}
        clients: {partition: column, column: client}
        train: {local_steps: 8, batch_size: 4, clients_per_pass: auto}
        spark: {master: 'local[2]'}
        """;

    @Option(
        names = "--clients",
        defaultValue = "32",
        description = "Number of clients (default: ${DEFAULT-VALUE}).")
    private int clients;

    @Option(
        names = "--tokens",
        defaultValue = "16",
        description = "Tokens of each text (default: ${DEFAULT-VALUE}).")
    private int tokens;

    @Option(
        names = "--turns",
        defaultValue = "5",
        description = "How often each way is measured (default: ${DEFAULT-VALUE}).")
    private int turns;

    @Mixin private RecipeOptions recipe = new RecipeOptions();

    @Override
    public Outcome run(Context context) {
      new Problems()
          .require(clients >= 2 && clients <= 10_000, "--clients", clients, "must be 2..10000")
          .require(tokens >= 3 && tokens <= 100_000, "--tokens", tokens, "must be 3..100000")
          .require(turns >= 1 && turns <= 1000, "--turns", turns, "must be 1..1000")
          .throwIfAny();
      List<Setting> settings = new ArrayList<>();
      settings.add(Setting.parse("model.max_length=" + tokens));
      settings.addAll(recipe.settings());
      Recipe read =
          RecipeReader.parse(RECIPE, "bench clients", context.shell().directory(), settings);
      new Problems()
          .require(
              read.train().localSteps() > 0,
              "train.local_steps",
              read.train().localSteps(),
              "must be above 0 to be measured")
          .throwIfAny();
      return context
          .actions()
          .benchClients(
              read,
              new Actions.ClientBenchOptions(
                  clients,
                  turns,
                  context.json() ? line -> {} : context.shell().progress()::println));
    }
  }

  @picocli.CommandLine.Command(
      name = "train",
      description = "Time the updates of one training: a model directory, a method, a batch.")
  static final class Train implements Command {
    private static final String RECIPE =
        """
        run: {name: bench-train}
        data: {train: made-up, test: ''}
        clients: {partition: iid}
        """;

    @Option(
        names = {"-c", "--config"},
        paramLabel = "RECIPE",
        description = "Train on this recipe's examples; without it on made-up ones.")
    private Optional<Path> config = Optional.empty();

    @Option(
        names = "--model",
        paramLabel = "DIR",
        description = "Model directory (default: the recipe's, or the bundled model).")
    private Optional<String> model = Optional.empty();

    @Option(
        names = "--method",
        paramLabel = "TYPE",
        description = "peft_type (default: the recipe's, or LORA); settings of it with --set.")
    private Optional<String> method = Optional.empty();

    @Option(
        names = "--dtype",
        paramLabel = "TYPE",
        description =
            "What the base is held in: float32, bfloat16, float16 or nf4 (default: the recipe's,"
                + " or float32).")
    private Optional<String> dtype = Optional.empty();

    @Option(names = "--batch", description = "Examples of a batch (default: the recipe's, or 32).")
    private Optional<Integer> batch = Optional.empty();

    @Option(
        names = "--length",
        description = "Tokens of a text at most (default: the recipe's, or 64).")
    private Optional<Integer> length = Optional.empty();

    @Option(
        names = "--threads",
        description = "Math threads (default: the recipe's spark.task_cpus, or 1).")
    private Optional<Integer> threads = Optional.empty();

    @Option(
        names = "--steps",
        description = "Updates to time (default: a pass over the recipe's examples, or 20).")
    private Optional<Integer> steps = Optional.empty();

    @Option(
        names = "--warmup",
        defaultValue = "3",
        description = "Updates before the clock starts (default: ${DEFAULT-VALUE}).")
    private int warmup;

    @Option(names = "--out", paramLabel = "FILE", description = "Also write the result as JSON.")
    private String out = "";

    @Mixin private RecipeOptions recipe = new RecipeOptions();

    @Override
    public Outcome run(Context context) {
      int updates = steps.orElse(config.isPresent() ? 0 : 20);
      new Problems()
          .require(
              steps.isEmpty() || (updates >= 1 && updates <= 1_000_000),
              "--steps",
              updates,
              "must be 1..1000000")
          .require(warmup >= 0 && warmup <= 1_000_000, "--warmup", warmup, "must be 0..1000000")
          .throwIfAny();
      List<Setting> settings = new ArrayList<>();
      model.ifPresent(path -> settings.add(Setting.text("model.path", path, "--model")));
      method.ifPresent(type -> settings.add(Setting.text("peft.peft_type", type, "--method")));
      dtype.ifPresent(type -> settings.add(Setting.text("model.dtype", type, "--dtype")));
      settings.addAll(numbers());
      settings.addAll(recipe.settings());
      Path here = context.shell().directory();
      Path target = out.isEmpty() ? Path.of("") : here.resolve(out);
      Actions.TrainBenchOptions options =
          new Actions.TrainBenchOptions(config.isEmpty(), warmup, updates, target);
      return context
          .actions()
          .benchTrain(
              config.isPresent()
                  ? RecipeReader.read(here.resolve(config.get()), settings)
                  : madeUp(here, settings),
              options);
    }

    private List<Setting> numbers() {
      List<Setting> settings = new ArrayList<>();
      Optional<Integer> examples = batch.or(() -> usual(32));
      Optional<Integer> tokens = length.or(() -> usual(64));
      examples.ifPresent(n -> settings.add(Setting.parse("train.batch_size=" + n)));
      tokens.ifPresent(n -> settings.add(Setting.parse("model.max_length=" + n)));
      threads.ifPresent(n -> settings.add(Setting.parse("spark.task_cpus=" + n)));
      return settings;
    }

    private Optional<Integer> usual(int number) {
      return config.isPresent() ? Optional.empty() : Optional.of(number);
    }

    /** A recipe without data, for the task that its model is made for. */
    private static Recipe madeUp(Path here, List<Setting> settings) {
      Recipe read = RecipeReader.parse(RECIPE, "bench train", here, settings);
      if (settings.stream().anyMatch(setting -> setting.key().equals("model.task"))) {
        return read;
      }
      String task = TrainBench.task(ModelDirectory.resolve(read.model().path()));
      List<Setting> all = new ArrayList<>(settings);
      all.add(Setting.text("model.task", task, "bench train"));
      return RecipeReader.parse(RECIPE, "bench train", here, all);
    }
  }

  @picocli.CommandLine.Command(
      name = "methods",
      description = "Train each method on a recipe's data in one place, for as many steps.")
  static final class Methods implements Command {
    @Option(
        names = {"-c", "--config"},
        required = true,
        paramLabel = "RECIPE",
        description = "The recipe: model, data, batch size, learning rate, codec.")
    private Path config = Path.of("");

    @Option(
        names = "--methods",
        split = ",",
        paramLabel = "TYPE",
        description = "Methods to compare (default: all).")
    private List<String> methods = new ArrayList<>();

    @Option(
        names = "--steps",
        defaultValue = "150",
        description = "Updates of each method (default: ${DEFAULT-VALUE}).")
    private int steps;

    @Option(names = "--out", paramLabel = "FILE", description = "Also write a Markdown table.")
    private String out = "";

    @Mixin private RecipeOptions recipe = new RecipeOptions();

    @Override
    public Outcome run(Context context) {
      new Problems()
          .require(steps >= 1 && steps <= 1_000_000, "--steps", steps, "must be 1..1000000")
          .throwIfAny();
      Recipe read =
          RecipeReader.read(context.shell().directory().resolve(config), recipe.settings());
      String target = out.isEmpty() ? "" : context.shell().directory().resolve(out).toString();
      return context
          .actions()
          .benchMethods(
              read,
              new Actions.MethodBenchOptions(
                  PlanCommand.types(methods),
                  steps,
                  target,
                  context.json() ? line -> {} : context.shell().progress()::println));
    }
  }
}
