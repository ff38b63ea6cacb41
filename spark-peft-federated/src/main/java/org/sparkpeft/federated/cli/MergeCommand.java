package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.apache.spark.api.java.JavaSparkContext;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.io.FileSource;
import org.sparkpeft.federated.config.Locations;
import org.sparkpeft.federated.config.MergeRecipeReader;
import org.sparkpeft.federated.config.SparkConfig;
import org.sparkpeft.merge.recipe.CheckpointRecipe;
import org.sparkpeft.merge.recipe.MergeRecipe;
import org.sparkpeft.merge.recipe.MergeValue;
import org.sparkpeft.merge.spark.CheckpointMerge;
import org.sparkpeft.merge.spark.MergeListener;
import org.sparkpeft.merge.spark.MergeSettings;
import org.sparkpeft.merge.spark.MergeSummary;
import org.sparkpeft.merge.spark.MergedTensor;
import org.sparkpeft.merge.spark.Workers;
import org.sparkpeft.merge.storage.Storage;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@picocli.CommandLine.Command(
    name = "merge",
    description = "Merge models, or LoRA adapters, into one.",
    footer = {
      "",
      "Examples:",
      "  spark-peft merge -c conf/merge-ties.yaml",
      "  spark-peft merge --method ties --base B --models M1,M2 --density 0.2 --out merged",
      "  spark-peft merge --method cat --models adapter1,adapter2 --weights 0.7,0.3 --out both",
      "  spark-peft merge --method svd --models adapter1,adapter2 --search cma_es --search-data"
          + " val.jsonl --model bert --out both"
    })
final class MergeCommand implements Command {
  @Option(
      names = {"-c", "--config"},
      paramLabel = "RECIPE",
      description =
          "What to merge: a YAML file, ours or mergekit's. Other options replace its values.")
  private Path config = Path.of("");

  @Option(
      names = "--models",
      split = ",",
      paramLabel = "DIR",
      description = "Models or adapters to merge.")
  private List<String> models = new ArrayList<>();

  @Option(
      names = "--weights",
      split = ",",
      paramLabel = "NUMBER",
      description = "One for each of --models (default: 1).")
  private List<Double> weights = new ArrayList<>();

  @Option(names = "--base", paramLabel = "DIR", description = "Model that the others started from.")
  private String base = "";

  @Option(names = "--method", description = "linear, task_arithmetic, ties, dare_ties, della, ...")
  private String method = "";

  @Option(names = "--out", paramLabel = "DIR", description = "Folder of the result.")
  private String out = "";

  @Option(names = "--density", description = "Fraction of entries kept, in (0, 1].")
  private Optional<Double> density = Optional.empty();

  @Option(names = "--gamma", description = "Fraction of outliers dropped by breadcrumbs.")
  private Optional<Double> gamma = Optional.empty();

  @Option(names = "--epsilon", description = "Half the window of probabilities of della.")
  private Optional<Double> epsilon = Optional.empty();

  @Option(names = "--lambda", description = "Factor on the merged difference.")
  private Optional<Double> lambda = Optional.empty();

  @Option(names = "--t", description = "Where between two models slerp goes, 0..1.")
  private Optional<Double> t = Optional.empty();

  @Option(names = "--trim", description = "global or tensor: within what ties keeps the largest.")
  private Optional<String> trim = Optional.empty();

  @Option(names = "--dtype", description = "float32, float16 or bfloat16 (default: the inputs').")
  private Optional<String> dtype = Optional.empty();

  @Option(names = "--rank", description = "Rank of a merged adapter, of the svd methods.")
  private Optional<Integer> rank = Optional.empty();

  @Option(names = "--seed", description = "Seed of random drops and of a search.")
  private Optional<Long> seed = Optional.empty();

  @Option(
      names = "--heads",
      description =
          "mean or drop: average the task heads of adapters, or leave them out (default: mean).")
  private Optional<String> heads = Optional.empty();

  @Mixin private SearchOptions search = new SearchOptions();

  @Option(
      names = "--max-shard-size",
      paramLabel = "SIZE",
      description = "Most bytes of a file, as 5GB.")
  private Optional<String> maxShardSize = Optional.empty();

  @Option(names = "--memory", paramLabel = "SIZE", description = "Most bytes of buffers, as 1GiB.")
  private Optional<String> memory = Optional.empty();

  @Option(
      names = "--threads",
      description = "Threads, without --master (default: one for each processor).")
  private Optional<Integer> threads = Optional.empty();

  @Option(
      names = "--master",
      paramLabel = "URL",
      description = "Merge as a job of this Spark master; all nodes must see the files.")
  private String master = "";

  @Option(names = "--decay", description = "Decay of ema, over models in their order.")
  private Optional<Double> decay = Optional.empty();

  @Option(
      names = "--threshold",
      description = "Of consensus: how much of the merged difference a model must want itself.")
  private Optional<Double> threshold = Optional.empty();

  @Option(names = "--force", description = "Merge although base models differ.")
  private boolean force;

  @Option(names = "--dry-run", description = "Check everything and say what would happen.")
  private boolean dryRun;

  @Override
  public Outcome run(Context context) {
    Path directory = context.shell().directory();
    MergeRecipe recipe = recipe(directory);
    if (recipe.options().out().isEmpty()) {
      throw new ConfigException("--out", "name the folder of the result");
    }
    long adapters = recipe.paths().stream().filter(MergeCommand::isAdapter).count();
    if (adapters > 0 && adapters < recipe.paths().size()) {
      throw new DataException(
          "models and adapters do not merge with each other; fuse the adapters into models first");
    }
    if (adapters > 0) {
      return new MergeAdapters(recipe, force, dryRun, master).run();
    }
    if (recipe.search().isPresent()) {
      throw new ConfigException(
          "search", "is for adapters; the models here are checkpoints, give their weights");
    }
    return checkpoints(recipe, context);
  }

  private static boolean isAdapter(String path) {
    return !path.startsWith("bundled:")
        && Storage.ANY.exists(FileSource.within(Storage.absolute(path), "adapter_config.json"));
  }

  private MergeRecipe recipe(Path directory) {
    boolean fromFile = !config.toString().isEmpty();
    new Problems()
        .require(
            !fromFile || (models.isEmpty() && weights.isEmpty() && method.isEmpty()),
            "--config",
            config,
            "names models, weights and method itself; give either it or those")
        .require(
            weights.isEmpty() || weights.size() == models.size(),
            "--weights",
            weights.size(),
            "needs one number for each of the " + models.size() + " models")
        .throwIfAny();
    MergeRecipe given =
        fromFile ? MergeRecipeReader.read(directory.resolve(config)) : fromFlags(directory);
    Map<String, Double> replaced = new TreeMap<>();
    density.ifPresent(value -> replaced.put("density", inRange("--density", value, 1, true)));
    gamma.ifPresent(value -> replaced.put("gamma", inRange("--gamma", value, 1, false)));
    epsilon.ifPresent(value -> replaced.put("epsilon", inRange("--epsilon", value, 1, false)));
    lambda.ifPresent(value -> replaced.put("lambda", value));
    threshold.ifPresent(value -> replaced.put("threshold", value));
    decay.ifPresent(value -> replaced.put("decay", inRange("--decay", value, 1, false)));
    t.ifPresent(value -> replaced.put("t", value == 0 ? 0 : inRange("--t", value, 1, true)));
    MergeRecipe.Options o = given.options();
    MergeRecipe.Options options =
        new MergeRecipe.Options(
            out.isEmpty() ? o.out() : Locations.resolve(directory, out, "--out"),
            dtype.orElse(o.dtype()),
            trim.orElse(o.trim()),
            o.rescale(),
            rank.orElse(o.rank()),
            seed.orElse(o.seed()),
            heads.orElse(o.heads()),
            maxShardSize
                .map(size -> MergeRecipeReader.bytes(size, "--max-shard-size"))
                .orElse(o.maxShardBytes()),
            memory.map(size -> MergeRecipeReader.bytes(size, "--memory")).orElse(o.memoryBytes()),
            threads.orElse(o.threads()));
    return given.with(
        replaced,
        options,
        search.config(given.search(), given.method(), options.seed(), directory));
  }

  private static double inRange(String option, double value, double most, boolean openBelow) {
    boolean ok = openBelow ? value > 0 && value <= most : value >= 0 && value < most;
    if (!ok) {
      throw new ConfigException(
          option, "must be in " + (openBelow ? "(0, 1]" : "[0, 1)") + ", got " + value);
    }
    return value;
  }

  private MergeRecipe fromFlags(Path directory) {
    List<MergeRecipe.Model> parts = new ArrayList<>();
    for (int i = 0; i < models.size(); i++) {
      Map<String, MergeValue> own =
          weights.isEmpty() ? Map.of() : Map.of("weight", new MergeValue.Constant(weights.get(i)));
      parts.add(
          new MergeRecipe.Model(Locations.resolve(directory, models.get(i), "--models"), own));
    }
    return new MergeRecipe(
        parts,
        List.of(),
        Locations.resolve(directory, base, "--base"),
        method,
        Map.of(),
        MergeRecipe.Options.defaults(),
        false,
        Optional.empty());
  }

  private Outcome checkpoints(MergeRecipe recipe, Context context) {
    if (master.isEmpty()) {
      return merged(recipe, context, Optional.empty());
    }
    SparkConfig spark = SparkConfig.defaults().withMaster(master);
    try (EmbeddedSpark session = EmbeddedSpark.open(spark, "merge")) {
      return merged(
          recipe,
          context,
          Optional.of(JavaSparkContext.fromSparkContext(session.session().sparkContext())));
    }
  }

  private Outcome merged(MergeRecipe recipe, Context context, Optional<JavaSparkContext> spark) {
    CheckpointRecipe plan = new CheckpointRecipe(recipe, force);
    List<MergedTensor> tensors = ofRecipe(plan::tensors);
    MergeSettings settings =
        new MergeSettings(
            recipe.options().out(),
            plan.config(),
            plan.companions(),
            recipe.options().maxShardBytes(),
            recipe.options().memoryBytes(),
            MergeSettings.PIECE_ENTRIES);
    if (dryRun) {
      return described(recipe, tensors, plan.notes());
    }
    int wished = recipe.options().threads();
    int threads = wished == 0 ? Runtime.getRuntime().availableProcessors() : wished;
    Workers workers = spark.map(Workers::spark).orElseGet(() -> Workers.threads(threads));
    MergeProgress progress = MergeProgress.on(context.shell(), context.json());
    MergeSummary summary = merge(tensors, settings, workers, progress);
    progress.close();
    return outcome(recipe, summary, plan.notes());
  }

  private static MergeSummary merge(
      List<MergedTensor> tensors, MergeSettings settings, Workers workers, MergeListener progress) {
    return ofRecipe(() -> new CheckpointMerge(tensors, settings, workers, progress).run());
  }

  /** What a method says of its weights and densities is about the recipe. */
  private static <T> T ofRecipe(Supplier<T> work) {
    try {
      return work.get();
    } catch (IllegalArgumentException e) {
      throw new ConfigException("method", String.valueOf(e.getMessage()));
    }
  }

  private static String lines(List<String> notes) {
    return notes.stream().map(note -> "note: " + note + "\n").collect(Collectors.joining());
  }

  private static Outcome described(
      MergeRecipe recipe, List<MergedTensor> tensors, List<String> notes) {
    long bytes = tensors.stream().mapToLong(MergedTensor::bytes).sum();
    long parameters = tensors.stream().mapToLong(MergedTensor::elements).sum();
    long merged = tensors.stream().filter(tensor -> tensor.method() != null).count();
    Map<String, Object> data = new TreeMap<>();
    data.put("kind", "model");
    data.put("method", recipe.method());
    data.put("models", recipe.paths().size());
    data.put("tensors", tensors.size());
    data.put("merged", merged);
    data.put("parameters", parameters);
    data.put("bytes", bytes);
    data.put("out", recipe.options().out());
    data.put("dry_run", true);
    data.put("notes", notes);
    return new Outcome(
        lines(notes)
            + "%,d parameters in %d tensors, %d of them merged by %s from %d models; %s. Nothing was written."
                .formatted(
                    parameters,
                    tensors.size(),
                    merged,
                    recipe.method(),
                    recipe.paths().size(),
                    ProgressBar.bytes(bytes)),
        new TreeMap<>(data));
  }

  private static Outcome outcome(MergeRecipe recipe, MergeSummary summary, List<String> notes) {
    Map<String, Object> data = new TreeMap<>();
    data.put("kind", "model");
    data.put("method", recipe.method());
    data.put("models", recipe.paths().size());
    data.put("tensors", summary.tensors());
    data.put("merged", summary.merged());
    data.put("bytes", summary.bytes());
    data.put("bytes_read", summary.bytesRead());
    data.put("shards", summary.shards());
    data.put("shards_kept", summary.shardsKept());
    data.put("seconds", summary.seconds());
    data.put("out", recipe.options().out());
    data.put("dry_run", false);
    data.put("notes", notes);
    return new Outcome(
        lines(notes)
            + String.format(
                Locale.ROOT,
                "%d tensors by %s, %s in %d file%s, %.1f s%nmodel  %s",
                summary.merged(),
                recipe.method(),
                ProgressBar.bytes(summary.bytes()),
                summary.shards(),
                summary.shards() == 1 ? "" : "s",
                summary.seconds(),
                recipe.options().out()),
        new TreeMap<>(data));
  }
}
