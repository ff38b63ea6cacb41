package org.sparkpeft.federated.cli;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.spark.SparkConf;
import org.apache.spark.sql.SparkSession;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.federated.config.SparkConfig;
import scala.jdk.javaapi.OptionConverters;

/**
 * The Spark session of a command. One that exists already, as in a notebook or a Databricks job, is
 * used as it is and left running; else one is started with settings that suit this project, and
 * stopped at the end.
 *
 * <p>What wins over what: the master given to {@code spark-submit} over the recipe's; the recipe's
 * {@code spark.conf} over {@code spark-submit} and {@code spark-defaults.conf}; these over the
 * defaults set here.
 */
public final class EmbeddedSpark implements AutoCloseable {
  /** System property with the project's folder, where {@code conf/} is; set by the launcher. */
  static final String HOME_PROPERTY = "sparkpeft.home";

  private static final Pattern LOCAL_CLUSTER =
      Pattern.compile("local-cluster\\[\\s*\\d+\\s*,\\s*\\d+\\s*,\\s*(\\d+)\\s*]");

  private final SparkSession session;
  private final boolean owned;

  private EmbeddedSpark(SparkSession session, boolean owned) {
    this.session = session;
    this.owned = owned;
  }

  /**
   * Uses the session there is, or starts one.
   *
   * @param name of the run; part of the application's name
   */
  public static EmbeddedSpark open(SparkConfig config, String name) {
    Optional<SparkSession> running = running();
    if (running.isPresent()) {
      return new EmbeddedSpark(running.get(), false);
    }
    SparkConf conf = conf(new SparkConf(), config, name, System.getenv());
    return new EmbeddedSpark(SparkSession.builder().config(conf).getOrCreate(), true);
  }

  /** Like {@link #open}, for callers that leave the session running. */
  public static SparkSession session(SparkConfig config, String name) {
    return open(config, name).session();
  }

  public SparkSession session() {
    return session;
  }

  private static Optional<SparkSession> running() {
    return OptionConverters.toJava(
            SparkSession.getActiveSession().orElse(SparkSession::getDefaultSession))
        .filter(session -> !session.sparkContext().isStopped());
  }

  /**
   * The settings of a session to be started.
   *
   * @param given what the process was started with: {@code spark.*} system properties
   * @param variables environment variables
   */
  static SparkConf conf(
      SparkConf given, SparkConfig config, String name, Map<String, String> variables) {
    SparkConf conf = given.clone();
    conf.setIfMissing("spark.master", config.master());
    conf.set("spark.app.name", "spark-peft " + name);
    config.conf().forEach(conf::set);
    conf.set("spark.task.cpus", String.valueOf(config.taskCpus()));
    String threads = String.valueOf(config.taskCpus());
    conf.setIfMissing("spark.executorEnv.OMP_NUM_THREADS", threads);
    conf.setIfMissing("spark.executorEnv.MKL_NUM_THREADS", threads);
    // Elements and results are byte arrays; this only spares Java serialisation's overhead.
    conf.setIfMissing("spark.serializer", "org.apache.spark.serializer.KryoSerializer");
    conf.setIfMissing("spark.ui.showConsoleProgress", "false");
    // Else a session that ends waits two minutes for the blocks of an executor that hangs.
    conf.setIfMissing("spark.cleaner.referenceTracking.blocking", "false");
    String master = conf.get("spark.master");
    if (isOnThisHost(master)) {
      conf.setIfMissing("spark.ui.enabled", "false");
      conf.setIfMissing("spark.driver.host", "127.0.0.1");
      conf.setIfMissing("spark.driver.bindAddress", "127.0.0.1");
      // 200, the default, is a task for every handful of rows at this size.
      conf.setIfMissing(
          "spark.sql.shuffle.partitions", String.valueOf(Math.max(2, config.localThreads())));
    }
    if (isOnThisHost(master) && !isThreads(master)) {
      executorsOnThisHost(conf, master, variables);
    }
    return conf;
  }

  private static boolean isThreads(String master) {
    return master.equals("local") || master.startsWith("local[");
  }

  private static boolean isOnThisHost(String master) {
    return isThreads(master)
        || LOCAL_CLUSTER.matcher(master).matches()
        || master.startsWith("spark://127.0.0.1:")
        || master.startsWith("spark://localhost:");
  }

  /** Executor processes that run the same jars as this one. */
  private static void executorsOnThisHost(
      SparkConf conf, String master, Map<String, String> variables) {
    Matcher localCluster = LOCAL_CLUSTER.matcher(master);
    if (localCluster.matches()) {
      SparkHome home = installation(master, variables);
      // Spark takes the last part of the master for a worker's memory, and executors default to
      // 1 GB whatever that is.
      conf.setIfMissing("spark.executor.memory", localCluster.group(1) + "m");
      conf.setIfMissing("spark.home", home.folder().toString());
      conf.setIfMissing("spark.executorEnv.SPARK_SCALA_VERSION", "2.13");
      conf.setIfMissing("spark.executor.extraClassPath", home.classPath());
    } else {
      SparkHome.of(variables)
          .ifPresent(home -> conf.setIfMissing("spark.executor.extraClassPath", home.classPath()));
    }
    String folder = System.getProperty(HOME_PROPERTY, "");
    Path logging = Path.of(folder, "conf", "log4j2.properties");
    if (!folder.isEmpty() && Files.isRegularFile(logging)) {
      conf.setIfMissing(
          "spark.executor.extraJavaOptions",
          "-Dlog4j2.configurationFile=" + logging.toAbsolutePath().toUri());
    }
  }

  /**
   * The folder whose jars executors run. Spark reads {@code SPARK_HOME} itself when it starts them,
   * so only the environment of this process can say where it is; an empty place is filled here.
   */
  private static SparkHome installation(String master, Map<String, String> variables) {
    String place = variables.getOrDefault("SPARK_HOME", "");
    if (place.isEmpty()) {
      throw new ConfigException(
          "spark.master",
          "executor processes need SPARK_HOME in the environment; use bin/spark-peft, which sets"
              + " it, or local[N], got "
              + master);
    }
    return SparkHome.of(variables)
        .orElseGet(
            () -> SparkHome.prepare(Path.of(place), System.getProperty("java.class.path", "")));
  }

  /** Stops the session if it was started here. */
  @Override
  public void close() {
    if (owned) {
      session.stop();
    }
  }
}
