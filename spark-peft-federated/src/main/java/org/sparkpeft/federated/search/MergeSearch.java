package org.sparkpeft.federated.search;

import java.io.Serializable;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import org.apache.spark.api.java.JavaPairRDD;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.broadcast.Broadcast;
import org.apache.spark.sql.SparkSession;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.merge.adapter.AdapterMerge;
import org.sparkpeft.merge.adapter.AdapterMerge.Heads;
import org.sparkpeft.merge.adapter.AdapterSet;
import org.sparkpeft.merge.adapter.StoredAdapter;
import org.sparkpeft.merge.method.LoraHub;
import org.sparkpeft.merge.method.WeightSearch;
import org.sparkpeft.merge.method.WeightSearch.Axis;
import org.sparkpeft.merge.method.WeightSearch.Scorer;
import org.sparkpeft.merge.recipe.SearchConfig;
import org.sparkpeft.merge.recipe.SearchConfig.Range;
import scala.Tuple2;

/**
 * Finds the numbers of a merge of adapters, its weights, density and lambda, by what validation
 * data says of the result. Candidates are merged and evaluated as Spark tasks; where they ran
 * changes nothing. Candidates that differ in lambda only are merged once.
 *
 * @param set the adapters
 * @param first where the first of them lies
 * @param how the merge, whose density and lambda are where the search starts
 * @param heads what becomes of task heads
 * @param weights one for each adapter, where the search starts; {@code lorahub} starts at 0
 */
public record MergeSearch(
    AdapterSet set, Path first, AdapterMerge how, Heads heads, List<Double> weights) {
  public MergeSearch {
    weights = List.copyOf(weights);
  }

  /**
   * What was found.
   *
   * @param how the merge with the best density and lambda
   * @param weights the best weights
   * @param score their score: the metric, negative where less is better, less the penalty
   * @param evaluations how many candidates were tried
   */
  public record Found(AdapterMerge how, List<Double> weights, double score, int evaluations) {
    public Found {
      weights = List.copyOf(weights);
    }
  }

  /** Candidates that differ in lambda only. */
  private record Family(List<Double> weights, double density, List<Member> members)
      implements Serializable {}

  /** One of them. */
  private record Member(int number, double lambda) implements Serializable {}

  /**
   * Searches.
   *
   * @throws ConfigException if the search does not fit the merge
   */
  public Found run(SparkSession session, SearchConfig config) {
    if (how.type().equals("cat") && config.over().contains("density")) {
      throw new ConfigException("search.over", "cat has no density; leave it out");
    }
    StoredAdapter template =
        StoredAdapter.of(Path.of("the merged adapter"), how.merge(set, weights, heads));
    try (CandidateScores scores = new CandidateScores(session, config, template, first)) {
      JavaSparkContext spark = JavaSparkContext.fromSparkContext(session.sparkContext());
      Broadcast<byte[]> adapters = spark.broadcast(JavaBytes.of(set));
      try {
        Scorer plain = candidates -> scores(spark, adapters, scores, config, candidates);
        Scorer scorer = config.penalty() == 0 ? plain : penalised(plain, config);
        WeightSearch.Found found =
            switch (config.method()) {
              case "grid" -> WeightSearch.grid(values(config), scorer);
              case "nelder_mead" ->
                  WeightSearch.simplex(axes(config), config.evaluations(), scorer);
              default ->
                  WeightSearch.cmaEs(axes(config), config.evaluations(), config.seed(), scorer);
            };
        Numbers best = numbers(config, found.weights());
        return new Found(
            how.with(best.density(), best.lambda()),
            best.weights(),
            found.score(),
            found.evaluations());
      } catch (IllegalArgumentException e) {
        throw new ConfigException("search", String.valueOf(e.getMessage()));
      } finally {
        adapters.destroy();
      }
    }
  }

  /** The penalty is on the weights alone. */
  private Scorer penalised(Scorer plain, SearchConfig config) {
    return candidates -> {
      List<Double> scores = plain.scores(candidates);
      List<List<Double>> only =
          candidates.stream().map(numbers -> numbers(config, numbers).weights()).toList();
      return LoraHub.penalised(unused -> scores, config.penalty()).scores(only);
    };
  }

  private List<List<Double>> values(SearchConfig config) {
    List<List<Double>> values = new ArrayList<>();
    for (String name : config.over()) {
      int times = name.equals("weights") ? set.size() : 1;
      values.addAll(Collections.nCopies(times, range(config, name).values()));
    }
    return values;
  }

  private static Range range(SearchConfig config, String name) {
    return switch (name) {
      case "weights" -> config.weights();
      case "density" -> config.density();
      default -> config.lambda();
    };
  }

  private List<Axis> axes(SearchConfig config) {
    List<Axis> axes = new ArrayList<>();
    for (String name : config.over()) {
      Range range = range(config, name);
      List<Double> starts =
          switch (name) {
            case "weights" -> how.type().equals("lorahub") ? zeros() : weights;
            case "density" -> List.of(how.density());
            default -> List.of(how.lambda());
          };
      for (double start : starts) {
        if (start < range.low() || start > range.high()) {
          throw new ConfigException(
              "search." + name,
              "the search starts at "
                  + start
                  + ", outside low "
                  + range.low()
                  + " and high "
                  + range.high());
        }
        axes.add(new Axis(start, range.step(), range.low(), range.high()));
      }
    }
    return axes;
  }

  private List<Double> zeros() {
    return Collections.nCopies(set.size(), 0.0);
  }

  /** What a candidate stands for. */
  private record Numbers(List<Double> weights, double density, double lambda) {}

  private Numbers numbers(SearchConfig config, List<Double> candidate) {
    List<Double> theirs = weights;
    double density = how.density();
    double lambda = how.lambda();
    int at = 0;
    for (String name : config.over()) {
      switch (name) {
        case "weights" -> {
          theirs = candidate.subList(at, at + set.size());
          at += set.size();
        }
        case "density" -> density = candidate.get(at++);
        default -> lambda = candidate.get(at++);
      }
    }
    return new Numbers(theirs, density, lambda);
  }

  private List<Double> scores(
      JavaSparkContext spark,
      Broadcast<byte[]> adapters,
      CandidateScores scores,
      SearchConfig config,
      List<List<Double>> candidates) {
    Map<Numbers, List<Member>> grouped = new LinkedHashMap<>();
    for (int i = 0; i < candidates.size(); i++) {
      Numbers numbers = numbers(config, candidates.get(i));
      grouped
          .computeIfAbsent(
              new Numbers(numbers.weights(), numbers.density(), 1), key -> new ArrayList<>())
          .add(new Member(i, numbers.lambda()));
    }
    List<Family> families = new ArrayList<>();
    grouped.forEach(
        (numbers, members) ->
            families.add(
                new Family(new ArrayList<>(numbers.weights()), numbers.density(), members)));
    AdapterMerge merge = how;
    Heads kept = heads;
    List<Integer> indices = new ArrayList<>();
    for (int i = 0; i < families.size(); i++) {
      indices.add(i);
    }
    JavaPairRDD<Integer, byte[]> merged =
        spark
            .parallelize(indices, indices.size())
            .flatMapToPair(
                i ->
                    members(
                        families.get(i),
                        JavaBytes.read(adapters.value(), AdapterSet.class),
                        merge,
                        kept));
    return scores.of(merged, candidates.size());
  }

  private static Iterator<Tuple2<Integer, byte[]>> members(
      Family family, AdapterSet adapters, AdapterMerge how, Heads heads) {
    SortedMap<String, TensorData> unscaled =
        how.with(family.density(), 1).merge(adapters, family.weights(), heads).tensors();
    return family.members().stream()
        .map(
            member ->
                new Tuple2<>(
                    member.number(), StoredAdapter.values(scaled(unscaled, member.lambda()))))
        .iterator();
  }

  /** Delta W times lambda: B times lambda. */
  private static SortedMap<String, TensorData> scaled(
      SortedMap<String, TensorData> tensors, double lambda) {
    SortedMap<String, TensorData> scaled = new TreeMap<>(tensors);
    scaled.replaceAll(
        (name, tensor) -> {
          if (lambda == 1 || !name.endsWith(".lora_B.weight")) {
            return tensor;
          }
          float[] values = tensor.toFloats();
          for (int i = 0; i < values.length; i++) {
            values[i] = (float) (lambda * values[i]);
          }
          return TensorData.ofFloats(name, tensor.shape(), values);
        });
    return scaled;
  }
}
