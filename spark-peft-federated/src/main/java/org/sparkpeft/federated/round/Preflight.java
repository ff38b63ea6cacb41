package org.sparkpeft.federated.round;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.spark.api.java.JavaSparkContext;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problem;
import org.sparkpeft.federated.client.ClientStore;
import org.sparkpeft.federated.client.ExecutorProbe;
import org.sparkpeft.federated.client.RoundJob;
import org.sparkpeft.federated.client.RuntimeSpec;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.server.RunFolder;

/**
 * Checks, before a model is loaded, that the cluster can do what the recipe asks. Each finding is
 * one line: setting, found, needed, remedy.
 */
final class Preflight {
  private static final Logger LOG = LoggerFactory.getLogger(Preflight.class);
  private static final long MIB = 1 << 20;

  private final JavaSparkContext spark;
  private final Recipe recipe;

  Preflight(JavaSparkContext spark, Recipe recipe) {
    this.spark = spark;
    this.recipe = recipe;
  }

  /**
   * What is wrong.
   *
   * @param setting key to change
   * @param fatal whether the run cannot go on
   */
  record Finding(String setting, String found, String needed, String remedy, boolean fatal) {
    String line() {
      return "found " + found + ", needed " + needed + "; " + remedy;
    }
  }

  /**
   * Versions and slots: what can be known without data or executors.
   *
   * @throws ConfigException with every fatal finding; the others are logged
   */
  void cluster() {
    List<Finding> findings = new ArrayList<>();
    Versions.compiledFor()
        .mismatch(Versions.runningSpark(), Versions.runningScala(), Runtime.version().feature())
        .ifPresent(
            sentence ->
                findings.add(
                    new Finding(
                        "spark.master",
                        sentence,
                        "the same lines",
                        "use the matching spark-peft or Spark",
                        true)));
    int slots = slots();
    int wanted = recipe.rounds().concurrency();
    if (slots < Math.max(1, wanted)) {
      findings.add(
          new Finding(
              "rounds.concurrency",
              slots + " free task slots",
              Math.max(1, wanted) + "",
              "lower it, or give spark.master more cores",
              true));
    }
    settle(findings);
  }

  /**
   * Executors, memory and disk, once the data is split.
   *
   * @param clients number of clients
   * @param parameters trainable entries
   * @param baseBytes bytes of the frozen model in memory
   */
  void run(
      RuntimeSpec runtime,
      ClientStore store,
      RunFolder folder,
      int clients,
      int parameters,
      long baseBytes) {
    List<Finding> findings = new ArrayList<>();
    for (ExecutorProbe.Answer answer : ExecutorProbe.run(spark, slots(), runtime, store)) {
      if (!answer.isOk()) {
        findings.add(
            new Finding(
                answer.setting(),
                "on executor " + answer.executor() + ": " + answer.problem(),
                "all executors ready",
                "mend it there",
                true));
      }
    }
    disk(findings, folder.path(), folder.freeBytes(), clients, parameters);
    resultSize(findings, clients, parameters);
    memoryOverhead(findings, baseBytes);
    settle(findings);
  }

  /** Tasks that can run at once. */
  private int slots() {
    return spark
        .sc()
        .maxNumConcurrentTasks(spark.sc().resourceProfileManager().defaultResourceProfile());
  }

  private void disk(List<Finding> findings, Path path, long free, int clients, int parameters) {
    long checkpoints = 4L * parameters * 4 * recipe.rounds().count();
    long states = recipe.compress().uplink().errorFeedback() ? 4L * parameters * 2 * clients : 0;
    long needed = checkpoints + states + 64 * MIB;
    if (free < needed) {
      findings.add(
          new Finding(
              "run.dir",
              free / MIB + " MiB free in " + path,
              needed / MIB + " MiB for checkpoints and client state",
              "free some space or choose another folder",
              true));
    }
  }

  private void resultSize(List<Finding> findings, int clients, int parameters) {
    long limit = spark.getConf().getSizeAsBytes("spark.driver.maxResultSize", "1g");
    int columns = recipe.aggregate().method().equals("ties") ? 4 : 1;
    int parts = RoundJob.buckets(spark, recipe.rounds().cohortSize(clients));
    long needed = parts * columns * 8L * parameters;
    if (limit > 0 && limit < needed) {
      findings.add(
          new Finding(
              "spark.conf.spark.driver.maxResultSize",
              limit / MIB + " MiB",
              needed / MIB + " MiB for the partial sums of a round",
              "raise it, or train fewer parameters",
              true));
    }
  }

  private void memoryOverhead(List<Finding> findings, long baseBytes) {
    String master = spark.master();
    if (!master.startsWith("yarn") && !master.startsWith("k8s")) {
      return; // Only these two stop an executor that needs more than was asked for.
    }
    long executor = spark.getConf().getSizeAsBytes("spark.executor.memory", "1g");
    long overhead =
        spark
            .getConf()
            .getSizeAsBytes(
                "spark.executor.memoryOverhead", Math.max(384 * MIB, executor / 10) + "b");
    long needed = baseBytes + baseBytes / 4 + 300 * MIB;
    if (overhead < needed) {
      findings.add(
          new Finding(
              "spark.conf.spark.executor.memoryOverhead",
              overhead / MIB + " MiB",
              needed / MIB + " MiB for the base model and a batch outside the heap",
              "set it to " + needed / MIB + "m",
              false));
    }
  }

  private static void settle(List<Finding> findings) {
    Map<Boolean, List<Finding>> byFatal =
        findings.stream().collect(Collectors.partitioningBy(Finding::fatal));
    byFatal
        .getOrDefault(false, List.of())
        .forEach(finding -> LOG.warn("{}: {}", finding.setting(), finding.line()));
    List<Finding> fatal = byFatal.getOrDefault(true, List.of());
    if (!fatal.isEmpty()) {
      throw new ConfigException(
          fatal.stream().map(finding -> new Problem(finding.setting(), finding.line())).toList());
    }
  }
}
