package org.sparkpeft.tests.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.method.Breadcrumbs;
import org.sparkpeft.merge.method.Combination;
import org.sparkpeft.merge.method.Dare;
import org.sparkpeft.merge.method.Della;
import org.sparkpeft.merge.method.MergeMethod;
import org.sparkpeft.merge.method.Rescale;
import org.sparkpeft.merge.method.TaskArithmetic;
import org.sparkpeft.merge.method.Ties;

/** Merging three vectors on one core, beside a plain copy of the same bytes. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 3, time = 2)
@Measurement(iterations = 5, time = 2)
@Fork(1)
public class MergeBenchmark {
  /** Entries of each vector: 48 MB of inputs, which no cache holds. */
  private static final int ENTRIES = 4_000_000;

  /** What is measured. */
  @Param({"task_arithmetic", "ties", "dare_linear", "dare_ties", "della", "breadcrumbs"})
  public String method = "ties";

  private List<TaskVector> vectors = List.of();
  private MergeMethod merge = Ties.defaults();

  @Setup
  public void prepare() {
    ParameterLayout layout = ParameterLayout.of(Map.of("w", List.of(ENTRIES / 1000, 1000)));
    vectors = new ArrayList<>();
    for (int t = 0; t < 3; t++) {
      float[] values = Philox.of(5, "bench", t).uniform(ENTRIES, -1, 1);
      for (int i = 0; i < ENTRIES; i++) {
        values[i] *= values[i] * values[i];
      }
      vectors.add(TaskVector.wrap(layout, values));
    }
    merge =
        switch (method) {
          case "task_arithmetic" -> new TaskArithmetic(0.4);
          case "dare_linear" -> new Dare(0.2, 1, Combination.LINEAR, Rescale.PROBABILITY, 1);
          case "della" -> new Della(0.5, 0.1, 1, Combination.TIES, Rescale.PROBABILITY, 1);
          case "dare_ties" -> new Dare(0.2, 1, Combination.TIES, Rescale.PROBABILITY, 1);
          case "breadcrumbs" -> new Breadcrumbs(0.2, 0.01, 1, Combination.LINEAR);
          default -> Ties.defaults();
        };
  }

  @Benchmark
  public TaskVector merge() {
    return merge.merge(vectors);
  }

  @Benchmark
  public List<float[]> copy() {
    return vectors.stream().map(TaskVector::toArray).toList();
  }
}
