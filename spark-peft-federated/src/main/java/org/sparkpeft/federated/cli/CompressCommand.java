package org.sparkpeft.federated.cli;

import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.federated.config.SparkConfig;
import org.sparkpeft.federated.search.CompressSearch;
import org.sparkpeft.merge.adapter.AdapterFile;
import org.sparkpeft.merge.compress.Pipeline;
import org.sparkpeft.merge.recipe.SearchConfig;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

@picocli.CommandLine.Command(
    name = "compress",
    description = "Compress an adapter into one file: its largest entries as signs, entropy-coded.",
    footer = {
      "",
      "Examples:",
      "  spark-peft compress --adapter adapter --density 0.1 --out a.spta",
      "  spark-peft compress --adapter adapter --search-data val.jsonl --model bert --out a.spta"
    })
final class CompressCommand implements Command {
  @Option(
      names = "--adapter",
      required = true,
      paramLabel = "DIR",
      description = "Hugging Face PEFT directory.")
  private String adapter = "";

  @Option(
      names = "--reference",
      paramLabel = "DIR",
      description = "Adapter that training started from; only the difference to it is kept.")
  private String reference = "";

  @Option(
      names = "--density",
      description =
          "Fraction of entries kept, in (0, 1] (default: 0.1; with --search-data the best).")
  private Optional<Double> density = Optional.empty();

  @Option(
      names = "--selection",
      paramLabel = "WHERE",
      description =
          "Choose the entries kept, and with --search-data their magnitude, for the whole adapter"
              + " (global) or for each tensor (tensor) (default: ${DEFAULT-VALUE}).")
  private String selection = "global";

  @Option(
      names = "--pipeline",
      paramLabel = "STAGES",
      description = "Instead: sparsifier|quantiser|coder, as topk(0.05)|ternary(sigma, 4)|rice.")
  private String pipeline = "";

  @Mixin private ValidationOptions validation = new ValidationOptions();

  @Option(
      names = "--master",
      paramLabel = "URL",
      description = "Spark master of the search (default: threads of this machine).")
  private String master = "";

  @Option(names = "--out", required = true, paramLabel = "FILE", description = "The new file.")
  private String out = "";

  @Override
  public Outcome run(Context context) {
    double kept = density.orElse(0.1);
    new Problems()
        .require(kept > 0 && kept <= 1, "--density", kept, "must be in (0, 1]")
        .require(
            List.of("global", "tensor").contains(selection),
            "--selection",
            selection,
            "must be global or tensor")
        .require(
            pipeline.isEmpty() || selection.equals("global"),
            "--selection",
            selection,
            "is a part of --pipeline, as in topk(0.1, tensor); write it there")
        .require(
            pipeline.isEmpty() || !validation.given(),
            "--pipeline",
            pipeline,
            "says itself what --search-data would find; give one of the two")
        .throwIfAny();
    if (validation.isSet() && !validation.given()) {
      throw ValidationOptions.noData();
    }
    Path directory = context.shell().directory();
    Path from = directory.resolve(adapter);
    Optional<Path> start =
        reference.isEmpty() ? Optional.empty() : Optional.of(directory.resolve(reference));
    SearchConfig search = validation.over(SearchConfig.defaults("compeft"), directory);
    Optional<CompressSearch.Found> found =
        validation.given()
            ? Optional.of(
                search(new CompressSearch(from, start, selection.equals("tensor")), search))
            : Optional.empty();
    Pipeline stages = found.map(CompressSearch.Found::pipeline).orElseGet(() -> stages(kept));
    AdapterFile file = AdapterFile.compress(from, start, stages, directory.resolve(out));
    Outcome made = new Inspection(false).compressed(directory.resolve(out), file);
    return found.map(best -> reported(made, best, search)).orElse(made);
  }

  private CompressSearch.Found search(CompressSearch search, SearchConfig config) {
    SparkConfig spark = SparkConfig.defaults().withMaster(master.isEmpty() ? "local[*]" : master);
    try (EmbeddedSpark session = EmbeddedSpark.open(spark, "compress")) {
      return search.run(
          session.session(), config, density.map(List::of).orElse(CompressSearch.DENSITIES));
    }
  }

  private static Outcome reported(Outcome made, CompressSearch.Found found, SearchConfig config) {
    double score = config.minimises() ? -found.score() : found.score();
    SortedMap<String, Object> data = new TreeMap<>(made.data());
    data.put("alpha", found.alpha());
    data.put("metric", config.metric());
    data.put("score", score);
    data.put("evaluations", found.evaluations());
    return new Outcome(
        String.format(
            Locale.ROOT,
            "found density %s, alpha %s: %s %.4f in %d evaluations%n%s",
            found.density(),
            found.alpha(),
            config.metric(),
            score,
            found.evaluations(),
            made.message()),
        data);
  }

  private Pipeline stages(double kept) {
    String plain =
        "topk(" + kept + (selection.equals("tensor") ? ", tensor" : "") + ")|ternary(mean)";
    try {
      return Pipeline.parse(pipeline.isEmpty() ? plain : pipeline);
    } catch (ConfigException e) {
      throw new ConfigException("--pipeline", e.problems().get(0).message());
    }
  }
}
