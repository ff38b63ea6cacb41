package org.sparkpeft.federated.cli;

import java.lang.management.ManagementFactory;
import java.lang.management.MemoryPoolMXBean;
import java.lang.management.MemoryType;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.method.Average;
import org.sparkpeft.merge.method.Breadcrumbs;
import org.sparkpeft.merge.method.Combination;
import org.sparkpeft.merge.method.Dare;
import org.sparkpeft.merge.method.Della;
import org.sparkpeft.merge.method.MergeMethod;
import org.sparkpeft.merge.method.ModelStock;
import org.sparkpeft.merge.method.MultiSlerp;
import org.sparkpeft.merge.method.Rescale;
import org.sparkpeft.merge.method.TaskArithmetic;
import org.sparkpeft.merge.method.Ties;

/** Speed of merge methods on task vectors in memory. */
final class MergeBench {
  static final List<String> COLUMNS =
      List.of(
          "method", "threads", "bytes", "gb_per_s", "copy_gb_per_s", "percent_of_copy", "peak_mb");

  private static final int ROW = 1000;

  private MergeBench() {}

  private static Map<String, MergeMethod> methods() {
    Map<String, MergeMethod> methods = new LinkedHashMap<>();
    methods.put("linear", new Average());
    methods.put("task_arithmetic", new TaskArithmetic(0.4));
    methods.put("ties", Ties.defaults());
    methods.put("dare_linear", new Dare(0.2, 1, Combination.LINEAR, Rescale.PROBABILITY, 1));
    methods.put("dare_ties", new Dare(0.2, 1, Combination.TIES, Rescale.PROBABILITY, 1));
    methods.put("della", new Della(0.5, 0.1, 1, Combination.TIES, Rescale.PROBABILITY, 1));
    methods.put("breadcrumbs", new Breadcrumbs(0.2, 0.01, 1, Combination.LINEAR));
    methods.put("breadcrumbs_ties", new Breadcrumbs(0.2, 0.01, 1, Combination.TIES));
    methods.put("multi_slerp", new MultiSlerp());
    methods.put("model_stock", new ModelStock());
    return methods;
  }

  static List<Map<String, Object>> run(int vectors, int entries) {
    List<Map<String, Object>> rows = new ArrayList<>();
    for (int threads : new int[] {1, 2}) {
      int share = entries / threads / ROW * ROW;
      List<List<TaskVector>> parts =
          IntStream.range(0, threads).mapToObj(part -> vectors(vectors, share, part)).toList();
      long bytes = 4L * vectors * share * threads;
      methods()
          .forEach(
              (name, method) -> {
                resetPeak();
                double[] seconds =
                    Stopwatch.bestOfEach(() -> copies(parts), () -> merges(method, parts));
                double copy = bytes / 1e9 / seconds[0];
                double speed = bytes / 1e9 / seconds[1];
                Map<String, Object> row = new LinkedHashMap<>();
                row.put("method", name);
                row.put("threads", threads);
                row.put("bytes", bytes);
                row.put("gb_per_s", speed);
                row.put("copy_gb_per_s", copy);
                row.put("percent_of_copy", 100 * speed / copy);
                row.put("peak_mb", peakBytes() >> 20);
                rows.add(row);
              });
    }
    return rows;
  }

  private static List<TaskVector> vectors(int count, int entries, int part) {
    ParameterLayout layout = ParameterLayout.of(Map.of("w", List.of(entries / ROW, ROW)));
    List<TaskVector> vectors = new ArrayList<>();
    for (int t = 0; t < count; t++) {
      SplittableRandom random = new SplittableRandom(31L * part + t);
      float[] values = new float[entries];
      for (int i = 0; i < entries; i++) {
        // Three uniform numbers are near enough to a Gaussian here.
        values[i] = (float) (random.nextDouble() + random.nextDouble() + random.nextDouble() - 1.5);
      }
      vectors.add(TaskVector.wrap(layout, values));
    }
    return vectors;
  }

  private static void copies(List<List<TaskVector>> parts) {
    parallel(parts, part -> part.forEach(TaskVector::toArray));
  }

  private static void merges(MergeMethod method, List<List<TaskVector>> parts) {
    parallel(parts, method::merge);
  }

  private static void parallel(
      List<List<TaskVector>> parts, java.util.function.Consumer<List<TaskVector>> work) {
    if (parts.size() == 1) {
      work.accept(parts.get(0));
      return;
    }
    List<Thread> threads = new ArrayList<>();
    for (List<TaskVector> part : parts) {
      Thread thread = new Thread(() -> work.accept(part));
      thread.start();
      threads.add(thread);
    }
    for (Thread thread : threads) {
      try {
        thread.join();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new IllegalStateException("interrupted while measuring", e);
      }
    }
  }

  private static List<MemoryPoolMXBean> heapPools() {
    return ManagementFactory.getMemoryPoolMXBeans().stream()
        .filter(pool -> pool.getType() == MemoryType.HEAP)
        .toList();
  }

  private static void resetPeak() {
    System.gc();
    heapPools().forEach(MemoryPoolMXBean::resetPeakUsage);
  }

  private static long peakBytes() {
    return heapPools().stream().mapToLong(pool -> pool.getPeakUsage().getUsed()).sum();
  }
}
