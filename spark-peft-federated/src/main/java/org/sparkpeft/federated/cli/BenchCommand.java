package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.sparkpeft.core.error.Problems;
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
