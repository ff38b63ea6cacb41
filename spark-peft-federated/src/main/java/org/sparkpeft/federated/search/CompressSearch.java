package org.sparkpeft.federated.search;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.apache.spark.api.java.JavaPairRDD;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.broadcast.Broadcast;
import org.apache.spark.sql.SparkSession;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.merge.adapter.AdapterFile;
import org.sparkpeft.merge.adapter.StoredAdapter;
import org.sparkpeft.merge.compress.Pipeline;
import org.sparkpeft.merge.method.WeightSearch;
import org.sparkpeft.merge.recipe.SearchConfig;
import scala.Tuple2;

/**
 * Finds density and scale of ComPEFT (Yadav et al., "ComPEFT: Compression for Communicating
 * Parameter Efficient Updates via Sparsification and Quantization", 2023) on validation data, as
 * published: a grid over density and alpha, the factor of the values' standard deviation. Of
 * equally good ones the sparsest is taken, and of these the smallest alpha.
 *
 * <p>Per tensor it differs from what is published: each tensor keeps its density of entries, and
 * alpha is the factor of their mean magnitude. LoRA's A and B learn at different rates, so one
 * threshold and one magnitude for both leave less of their product.
 *
 * @param adapter what is compressed
 * @param reference what it is compressed against
 * @param perTensor choose entries and magnitude for each tensor instead of for the whole vector
 */
public record CompressSearch(Path adapter, Optional<Path> reference, boolean perTensor) {
  /** Published densities. */
  public static final List<Double> DENSITIES = List.of(0.05, 0.1, 0.2, 0.3, 0.5);

  /** Published factors of the standard deviation. */
  public static final List<Double> ALPHAS = List.of(0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0);

  /** Factors of the kept entries' mean magnitude; 1 is the closest to the values themselves. */
  public static final List<Double> FACTORS = List.of(1.0, 1.5, 2.0, 3.0);

  /** As published. */
  public CompressSearch(Path adapter, Optional<Path> reference) {
    this(adapter, reference, false);
  }

  /**
   * What was found.
   *
   * @param density fraction of entries kept
   * @param alpha factor of the standard deviation, or per tensor of the mean magnitude
   * @param perTensor whether entries and magnitude are chosen for each tensor
   * @param score the metric, negative where less is better
   * @param evaluations how many were tried
   */
  public record Found(
      double density, double alpha, boolean perTensor, double score, int evaluations) {
    public Pipeline pipeline() {
      return CompressSearch.pipeline(density, alpha, perTensor);
    }
  }

  /** Tries every combination of the densities and {@link #ALPHAS}, or {@link #FACTORS}. */
  public Found run(SparkSession session, SearchConfig config, List<Double> densities) {
    AdapterDirectory read = AdapterDirectory.read(adapter);
    StoredAdapter template = StoredAdapter.of(read);
    try (CandidateScores scores = new CandidateScores(session, config, template, adapter)) {
      JavaSparkContext spark = JavaSparkContext.fromSparkContext(session.sparkContext());
      Broadcast<byte[]> original = spark.broadcast(JavaBytes.of(template));
      @Nullable Broadcast<byte[]> start =
          reference
              .map(AdapterDirectory::read)
              .map(other -> spark.broadcast(JavaBytes.of(StoredAdapter.of(other))))
              .orElse(null);
      try {
        WeightSearch.Found found =
            WeightSearch.grid(
                List.of(densities, perTensor ? FACTORS : ALPHAS),
                candidates ->
                    scores.of(compressed(spark, original, start, candidates), candidates.size()));
        return new Found(
            found.weights().get(0),
            found.weights().get(1),
            perTensor,
            found.score(),
            found.evaluations());
      } finally {
        original.destroy();
        if (start != null) {
          start.destroy();
        }
      }
    }
  }

  private JavaPairRDD<Integer, byte[]> compressed(
      JavaSparkContext spark,
      Broadcast<byte[]> original,
      @Nullable Broadcast<byte[]> start,
      List<List<Double>> candidates) {
    List<Integer> numbers = new ArrayList<>();
    List<String> pipelines = new ArrayList<>();
    for (List<Double> candidate : candidates) {
      numbers.add(numbers.size());
      pipelines.add(pipeline(candidate.get(0), candidate.get(1), perTensor).toString());
    }
    return spark
        .parallelize(numbers, numbers.size())
        .mapToPair(
            i ->
                new Tuple2<>(
                    i,
                    StoredAdapter.values(
                        AdapterFile.preview(
                            open(original),
                            start == null ? Optional.empty() : Optional.of(open(start)),
                            Pipeline.parse(pipelines.get(i))))));
  }

  private static AdapterDirectory open(Broadcast<byte[]> stored) {
    return JavaBytes.read(stored.value(), StoredAdapter.class).open();
  }

  private static Pipeline pipeline(double density, double alpha, boolean perTensor) {
    return Pipeline.parse(
        perTensor
            ? "topk(" + density + ", tensor)|ternary(mean, " + alpha + ")"
            : "topk(" + density + ")|ternary(sigma, " + alpha + ")");
  }
}
