package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.federated.config.SparkConfig;
import org.sparkpeft.federated.search.MergeSearch;
import org.sparkpeft.merge.adapter.AdapterMerge;
import org.sparkpeft.merge.adapter.AdapterMerge.Heads;
import org.sparkpeft.merge.adapter.AdapterSet;
import org.sparkpeft.merge.adapter.MergedAdapter;
import org.sparkpeft.merge.recipe.MergeRecipe;
import org.sparkpeft.merge.recipe.SearchConfig;
import org.sparkpeft.merge.storage.Storage;

/**
 * The merge command where models are adapters.
 *
 * @param master Spark master of a search; empty takes threads of this machine
 */
record MergeAdapters(MergeRecipe recipe, boolean force, boolean dryRun, String master) {
  Outcome run() {
    List<Path> paths = recipe.models().stream().map(model -> local(model.path())).toList();
    List<Double> weights = new ArrayList<>();
    for (MergeRecipe.Model model : recipe.models()) {
      weights.add(number(model, "weight", 1));
    }
    MergeRecipe.Options options = recipe.options();
    MergeRecipe.Model any = recipe.models().get(0);
    AdapterMerge how =
        new AdapterMerge(
            recipe.method(),
            number(any, "density", AdapterMerge.defaultDensity(recipe.method())),
            number(any, "gamma", AdapterMerge.DEFAULT_GAMMA),
            number(any, "lambda", 1),
            options.rank(),
            options.seed());
    Heads heads = Heads.valueOf(options.heads().toUpperCase(Locale.ROOT));
    AdapterSet set = AdapterSet.read(paths, force);
    Map<String, Object> data = new TreeMap<>();
    StringBuilder text = new StringBuilder();
    if (recipe.search().isPresent() && !dryRun) {
      MergeSearch.Found found =
          search(new MergeSearch(set, paths.get(0), how, heads, weights), recipe.search().get());
      how = found.how();
      weights = found.weights();
      report(found, recipe.search().get(), data, text);
    }
    MergedAdapter merged = how.merge(set, weights, heads);
    Path target = local(options.out());
    if (!dryRun) {
      AdapterDirectory.write(target, merged.config(), merged.tensors());
    }
    AdapterMerge.Summary summary = merged.summary();
    data.put("kind", "adapter");
    data.put("method", recipe.method());
    data.put("models", paths.size());
    data.put("modules", summary.modules());
    data.put("rank", summary.rank());
    data.put("notes", summary.notes());
    data.put("out", target.toString());
    data.put("dry_run", dryRun);
    summary.notes().forEach(note -> text.append(note).append('\n'));
    text.append(
        "%d adapters by %s: %d modules of rank up to %d%s"
            .formatted(
                paths.size(),
                recipe.method(),
                summary.modules(),
                summary.rank(),
                dryRun ? ". Nothing was written." : "\nadapter  " + target));
    return new Outcome(text.toString(), new TreeMap<>(data));
  }

  private MergeSearch.Found search(MergeSearch search, SearchConfig config) {
    int threads = recipe.options().threads();
    String local = "local[" + (threads == 0 ? "*" : String.valueOf(threads)) + "]";
    SparkConfig spark = SparkConfig.defaults().withMaster(master.isEmpty() ? local : master);
    try (EmbeddedSpark session = EmbeddedSpark.open(spark, "merge")) {
      return search.run(session.session(), config);
    }
  }

  private static void report(
      MergeSearch.Found found, SearchConfig config, Map<String, Object> data, StringBuilder text) {
    double shown = config.minimises() ? -found.score() : found.score();
    String name = config.penalty() == 0 ? config.metric() : "penalised " + config.metric();
    data.put("search", config.method());
    data.put("weights", found.weights());
    data.put("density", found.how().density());
    data.put("lambda", found.how().lambda());
    data.put("metric", config.metric());
    data.put("score", shown);
    data.put("evaluations", found.evaluations());
    text.append(
        String.format(
            Locale.ROOT,
            "%s found weights %s%s%s: %s %.4f in %d evaluations%n",
            config.method(),
            String.join(
                ", ",
                found.weights().stream().map(w -> String.format(Locale.ROOT, "%.4g", w)).toList()),
            shown(config, "density", found.how().density()),
            shown(config, "lambda", found.how().lambda()),
            name,
            shown,
            found.evaluations()));
  }

  private static String shown(SearchConfig config, String number, double value) {
    return config.over().contains(number)
        ? String.format(Locale.ROOT, ", %s %.4g", number, value)
        : "";
  }

  private double number(MergeRecipe.Model model, String key, double absent) {
    return Optional.ofNullable(model.parameters().get(key))
        .or(() -> Optional.ofNullable(recipe.parameters().get(key)))
        .flatMap(value -> value.at("", 0))
        .orElse(absent);
  }

  /** Adapters are small; they are merged in memory, from files to files of this machine. */
  private static Path local(String location) {
    if (Storage.isRemote(location)) {
      throw new DataException(
          "adapters are merged on this machine only; copy them here first, got " + location);
    }
    return Path.of(Storage.absolute(location));
  }
}
