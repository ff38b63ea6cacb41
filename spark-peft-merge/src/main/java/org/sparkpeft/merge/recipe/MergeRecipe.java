package org.sparkpeft.merge.recipe;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.sparkpeft.core.error.Problems;

/**
 * What to merge and how.
 *
 * @param models what is merged, absolute paths; with slices, empty
 * @param slices layers of the result, in order; empty takes all layers as they are
 * @param base model that differences are taken to, or empty
 * @param method a {@link MergeKind}, or for adapters what PEFT calls combination type
 * @param parameters those that hold for all models
 * @param options the rest
 * @param mergekit whether the recipe was one of mergekit's, whose defaults hold then
 * @param search how weights and other numbers are found on validation data, for adapters
 */
public record MergeRecipe(
    List<Model> models,
    List<Slice> slices,
    String base,
    String method,
    Map<String, MergeValue> parameters,
    Options options,
    boolean mergekit,
    Optional<SearchConfig> search) {
  public MergeRecipe {
    models = List.copyOf(models);
    slices = List.copyOf(slices);
    parameters = Map.copyOf(parameters);
    new Problems()
        .require(!method.isEmpty(), "method", "nothing", "name one, for example ties")
        .require(
            !models.isEmpty() || !slices.isEmpty(), "models", "none", "name at least two models")
        .throwIfAny();
  }

  /**
   * A model and what is set for it alone.
   *
   * @param evidence safetensors file that the method weighs it by, or empty: Fisher information for
   *     fisher, Gram matrices for regmean
   */
  public record Model(String path, Map<String, MergeValue> parameters, String evidence) {
    public Model {
      parameters = Map.copyOf(parameters);
    }

    /** Without evidence. */
    public Model(String path, Map<String, MergeValue> parameters) {
      this(path, parameters, "");
    }
  }

  /**
   * Some layers of the result.
   *
   * @param sources as many as there are models to merge, each with as many layers
   */
  public record Slice(List<Source> sources, Map<String, MergeValue> parameters) {
    public Slice {
      sources = List.copyOf(sources);
      parameters = Map.copyOf(parameters);
    }
  }

  /** Layers {@code from..to-1} of a model. */
  public record Source(Model model, int from, int to) {}

  /**
   * Where and in what form.
   *
   * @param out the new model or adapter
   * @param dtype float32, float16, bfloat16, or empty for the inputs'
   * @param trim tensor or global: within what TIES keeps the largest
   * @param rescale probability or l1: what makes up for entries dropped at random
   * @param rank of a merged adapter; 0 takes the largest of the inputs'
   * @param seed of random drops
   * @param heads mean or drop: what becomes of adapters' task heads and other trained copies
   * @param maxShardBytes most bytes of a file
   * @param memoryBytes most bytes of buffers
   * @param threads threads without Spark; 0 takes the processors there are
   */
  public record Options(
      String out,
      String dtype,
      String trim,
      String rescale,
      int rank,
      long seed,
      String heads,
      long maxShardBytes,
      long memoryBytes,
      int threads) {
    public Options {
      new Problems()
          .require(
              List.of("", "float32", "float16", "bfloat16").contains(dtype),
              "dtype",
              dtype,
              "must be float32, float16 or bfloat16")
          .require(
              List.of("tensor", "global").contains(trim), "trim", trim, "must be tensor or global")
          .require(
              List.of("probability", "l1").contains(rescale),
              "rescale",
              rescale,
              "must be probability or l1")
          .require(List.of("mean", "drop").contains(heads), "heads", heads, "must be mean or drop")
          .require(rank >= 0, "rank", rank, "must be 0 or above")
          .require(
              maxShardBytes >= 1 << 20, "max_shard_size", maxShardBytes, "must be at least 1MB")
          .require(memoryBytes >= 64 << 20, "memory", memoryBytes, "must be at least 64MB")
          .require(threads >= 0 && threads <= 1024, "threads", threads, "must be 0..1024")
          .throwIfAny();
    }

    /** Ours: whole vectors are trimmed, and what random drops lose is made up for on average. */
    public static Options defaults() {
      return new Options(
          "", "", "global", "probability", 0, 0, "mean", 5_000_000_000L, 1L << 30, 0);
    }

    /** As mergekit does it: tensor by tensor, and sizes are restored. */
    public static Options mergekit() {
      return new Options("", "", "tensor", "l1", 0, 0, "mean", 5_000_000_000L, 1L << 30, 0);
    }
  }

  /** All model paths, each once, in order. */
  public List<String> paths() {
    List<String> paths = new ArrayList<>();
    for (Model model : models) {
      paths.add(model.path());
    }
    for (Slice slice : slices) {
      slice.sources().forEach(source -> paths.add(source.model().path()));
    }
    return paths.stream().distinct().toList();
  }

  /** The same with some parameters replaced, for all models. */
  public MergeRecipe with(
      Map<String, Double> replaced, Options newOptions, Optional<SearchConfig> newSearch) {
    Map<String, MergeValue> merged = new TreeMap<>(parameters);
    replaced.forEach((key, value) -> merged.put(key, new MergeValue.Constant(value)));
    List<Model> without =
        models.stream()
            .map(
                model -> {
                  Map<String, MergeValue> own = new TreeMap<>(model.parameters());
                  own.keySet().removeAll(replaced.keySet());
                  return new Model(model.path(), own, model.evidence());
                })
            .toList();
    return new MergeRecipe(without, slices, base, method, merged, newOptions, mergekit, newSearch);
  }
}
