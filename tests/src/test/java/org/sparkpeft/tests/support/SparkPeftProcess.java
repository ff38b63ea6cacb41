package org.sparkpeft.tests.support;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.sparkpeft.federated.cli.Main;

/** The command line in a process of its own, which can be watched and killed. */
public final class SparkPeftProcess implements AutoCloseable {
  private static final String BRIEFLY = "-XX:TieredStopAtLevel=1";

  /** For {@code --set}: executors that are processes of seconds too. */
  public static final String BRIEF_EXECUTORS =
      "spark.conf.spark.executor.extraJavaOptions=" + BRIEFLY;

  private Duration limit = Duration.ofMinutes(4);
  private final Process process;
  private final Path output;
  private final Path errors;

  private SparkPeftProcess(Process process, Path output, Path errors) {
    this.process = process;
    this.output = output;
    this.errors = errors;
  }

  /**
   * Starts {@code spark-peft args...} on this test's class path, for a run of seconds that computes
   * little: code is compiled quickly and once.
   *
   * @param scratch folder for its output and for the jars that executor processes run
   */
  public static SparkPeftProcess start(Path scratch, String... args) {
    return start(scratch, List.of(BRIEFLY), Main.class, args);
  }

  /** Likewise, for a run whose own code should be fast. */
  public static SparkPeftProcess startLong(Path scratch, String... args) {
    return start(scratch, List.of(), Main.class, args);
  }

  /** Starts another main class likewise. */
  public static SparkPeftProcess startMain(Path scratch, Class<?> main, String... args) {
    return start(scratch, List.of(BRIEFLY), main, args);
  }

  private static SparkPeftProcess start(
      Path scratch, List<String> options, Class<?> main, String... args) {
    try {
      Files.createDirectories(scratch);
      Path output = Files.createTempFile(scratch, "output", ".txt");
      Path errors = Files.createTempFile(scratch, "errors", ".txt");
      List<String> command = new ArrayList<>();
      command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
      // The options that Spark needs on this Java are those of the test's own process.
      ManagementFactory.getRuntimeMXBean().getInputArguments().stream()
          .filter(a -> !a.startsWith("-javaagent"))
          .forEach(command::add);
      command.add("-Xmx1g");
      command.addAll(options);
      command.add(
          "-Dlog4j2.configurationFile=" + Project.root().resolve("conf/log4j2.properties").toUri());
      command.add(main.getName());
      command.addAll(List.of(args));
      ProcessBuilder builder =
          new ProcessBuilder(command)
              .redirectOutput(output.toFile())
              .redirectError(errors.toFile());
      builder.environment().put("CLASSPATH", System.getProperty("java.class.path"));
      builder.environment().put("SPARK_HOME", scratch.resolve("spark-home").toString());
      return new SparkPeftProcess(builder.start(), output, errors);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Allows it more or less time than usual. */
  public SparkPeftProcess within(Duration duration) {
    limit = duration;
    return this;
  }

  /** Runs to the end and returns the exit code. */
  public int await() {
    try {
      if (!process.waitFor(limit.toSeconds(), TimeUnit.SECONDS)) {
        throw new AssertionError("no end after " + limit + "\n" + errors());
      }
      return process.exitValue();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new AssertionError("interrupted", e);
    }
  }

  /** Runs to the end, which must be a good one, and returns the summary of the run. */
  public JsonNode summary(Path runDir) {
    int code = await();
    if (code != 0) {
      throw new AssertionError("exit code " + code + "\n" + output() + errors());
    }
    try {
      return new ObjectMapper().readTree(runDir.resolve("summary.json").toFile());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Waits until {@code happened}, or fails if the process ends first. */
  public void awaitThat(String what, BooleanSupplier happened) {
    long deadline = System.nanoTime() + limit.toNanos();
    while (!happened.getAsBoolean()) {
      if (!process.isAlive() || System.nanoTime() > deadline) {
        throw new AssertionError("ended or hung before " + what + "\n" + errors());
      }
      try {
        TimeUnit.MILLISECONDS.sleep(20);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new AssertionError("interrupted", e);
      }
    }
  }

  public long pid() {
    return process.pid();
  }

  /** Executor processes of this driver. */
  public List<ProcessHandle> executors() {
    return process
        .descendants()
        .filter(p -> p.info().commandLine().orElse("").contains("CoarseGrainedExecutorBackend"))
        .toList();
  }

  /** Kills the driver and everything it started, as {@code kill -9} does. */
  public void kill() {
    List<ProcessHandle> children = process.descendants().toList();
    process.destroyForcibly();
    children.forEach(ProcessHandle::destroyForcibly);
    try {
      process.waitFor();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  public String output() {
    return read(output);
  }

  public String errors() {
    return read(errors);
  }

  private static String read(Path file) {
    try {
      return Files.readString(file, StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Override
  public void close() {
    kill();
  }
}
