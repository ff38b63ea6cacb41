package org.sparkpeft.tests.bench;

import java.util.Arrays;
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
import org.sparkpeft.merge.compress.TopKSelection;

/** Finding the largest magnitudes by counting, beside sorting. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Warmup(iterations = 3, time = 2)
@Measurement(iterations = 5, time = 2)
@Fork(1)
public class SelectionBenchmark {
  private static final int ENTRIES = 4_000_000;

  /** Fraction kept. */
  @Param({"0.01", "0.05", "0.2"})
  public double density = 0.05;

  private float[] values = new float[0];

  @Setup
  public void prepare() {
    values = Philox.of(5, "selection").gaussian(ENTRIES, 1);
  }

  @Benchmark
  public int[] counting() {
    return TopKSelection.indices(
        values, 0, values.length, TopKSelection.keptCount(density, values.length));
  }

  @Benchmark
  public int[] sorting() {
    float[] magnitudes = new float[values.length];
    for (int i = 0; i < values.length; i++) {
      magnitudes[i] = Math.abs(values[i]);
    }
    Arrays.sort(magnitudes);
    int k = TopKSelection.keptCount(density, values.length);
    float threshold = magnitudes[values.length - k];
    int[] kept = new int[k];
    int n = 0;
    for (int i = 0; i < values.length && n < k; i++) {
      if (Math.abs(values[i]) >= threshold) {
        kept[n++] = i;
      }
    }
    return kept;
  }
}
