package org.sparkpeft.tests.support;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.apache.spark.SparkEnv;
import org.apache.spark.TaskContext;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.resource.ResourceInformation;
import org.apache.spark.sql.SparkSession;
import org.sparkpeft.core.engine.NativeLibraries;
import org.sparkpeft.federated.cli.EmbeddedSpark;
import org.sparkpeft.federated.cli.Main;
import org.sparkpeft.federated.client.TaskDevice;
import org.sparkpeft.federated.config.SparkConfig;

/**
 * A Spark application whose tasks run all at once and say what each was given: executor, addresses
 * of GPUs, device of this project, folder of PyTorch's libraries. Then it becomes {@code
 * spark-peft}, in the same Spark session.
 */
public final class AssignedGpus {
  private AssignedGpus() {}

  /**
   * @param args Spark master, number of tasks, an empty folder, settings as {@code key=value},
   *     {@code --}, and the arguments of {@code spark-peft}
   */
  public static void main(String[] args) {
    List<String> all = List.of(args);
    int end = all.indexOf("--");
    Map<String, String> conf = new TreeMap<>();
    for (String setting : all.subList(3, end)) {
      String[] parts = setting.split("=", 2);
      conf.put(parts[0], parts[1]);
    }
    int tasks = Integer.parseInt(all.get(1));
    SparkSession session = EmbeddedSpark.session(new SparkConfig(all.get(0), conf, 1), "gpus");
    JavaSparkContext.fromSparkContext(session.sparkContext())
        .parallelize(Collections.nCopies(tasks, all.get(2)), tasks)
        .map(folder -> told(Path.of(folder), tasks))
        .collect()
        .forEach(System.out::println);
    Main.main(all.subList(end + 1, all.size()).toArray(String[]::new));
  }

  private static String told(Path meeting, int tasks) throws IOException, InterruptedException {
    Files.createFile(meeting.resolve("task-" + TaskContext.getPartitionId()));
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
    while (arrived(meeting) < tasks) {
      if (System.nanoTime() > deadline) {
        throw new IllegalStateException(arrived(meeting) + " of " + tasks + " tasks run at once");
      }
      TimeUnit.MILLISECONDS.sleep(20);
    }
    ResourceInformation gpu = Objects.requireNonNull(TaskContext.get().resourcesJMap().get("gpu"));
    return String.join(
        " ",
        SparkEnv.get().executorId(),
        String.join(",", gpu.addresses()),
        TaskDevice.current(1).address(),
        NativeLibraries.loaded().folder());
  }

  private static long arrived(Path meeting) throws IOException {
    try (Stream<Path> files = Files.list(meeting)) {
      return files.count();
    }
  }
}
