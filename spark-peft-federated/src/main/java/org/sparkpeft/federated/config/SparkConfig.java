package org.sparkpeft.federated.config;

import java.io.Serializable;
import java.util.Collections;
import java.util.Map;
import java.util.TreeMap;
import org.sparkpeft.core.error.Problems;

/**
 * The Spark application, where this project starts one itself. A session that exists already, as in
 * a notebook, is used as it is.
 *
 * @param master Spark master URL, for example {@code local[4]} or {@code spark://host:7077}
 * @param conf Spark settings, all starting with {@code spark.}
 * @param taskCpus cores of one client's training, which share the texts of a batch; the last bits
 *     of a result depend on their number. Where texts cannot be told apart, as in preferences and
 *     pairs, they are the math threads of each operation, and bits may differ between runs
 */
public record SparkConfig(String master, Map<String, String> conf, int taskCpus)
    implements Serializable {
  private static final Map<String, String> OWN_KEYS =
      Map.of(
          "spark.master", "master",
          "spark.task.cpus", "task_cpus",
          "spark.app.name", "run.name");

  public SparkConfig {
    conf = Collections.unmodifiableMap(new TreeMap<>(conf));
    Problems problems =
        new Problems()
            .require(!master.isBlank(), "master", "\"" + master + "\"", "must be a Spark master")
            .require(
                taskCpus >= 1 && taskCpus <= 1024, "task_cpus", taskCpus, "must be 1..1024 cores");
    conf.forEach(
        (key, value) ->
            problems
                .require(
                    key.startsWith("spark."), "conf." + key, value, "must start with \"spark.\"")
                .require(
                    !OWN_KEYS.containsKey(key),
                    "conf." + key,
                    value,
                    "has a key of its own: " + OWN_KEYS.get(key)));
    problems.throwIfAny();
  }

  public static SparkConfig defaults() {
    return new SparkConfig("local[2]", Map.of(), 1);
  }

  public SparkConfig withMaster(String newMaster) {
    return new SparkConfig(newMaster, conf, taskCpus);
  }

  /** Threads of {@code local[N]}; 0 for {@code local[*]} and every other master. */
  public int localThreads() {
    if (master.equals("local")) {
      return 1;
    }
    return master.matches("local\\[\\d{1,5}(,\\d+)?\\]")
        ? Integer.parseInt(master.replaceAll("local\\[(\\d+).*", "$1"))
        : 0;
  }
}
