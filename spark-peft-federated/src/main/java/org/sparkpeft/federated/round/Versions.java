package org.sparkpeft.federated.round;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.Optional;
import java.util.Properties;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.engine.NativeLibraries;
import scala.util.Properties$;

/**
 * What this program was compiled for.
 *
 * @param project version of spark-peft
 * @param spark Spark version
 * @param scala Scala version
 * @param java Java release
 */
public record Versions(String project, String spark, String scala, int java) {

  /** Read from the jar. */
  public static Versions compiledFor() {
    Properties properties = new Properties();
    try (InputStream in = Versions.class.getResourceAsStream("build.properties")) {
      if (in == null) {
        throw new IllegalStateException("build.properties is missing from the jar");
      }
      properties.load(in);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return new Versions(
        properties.getProperty("version"),
        properties.getProperty("spark"),
        properties.getProperty("scala"),
        Integer.parseInt(properties.getProperty("java")));
  }

  /** Spark's version as it runs. */
  static String runningSpark() {
    return org.apache.spark.package$.MODULE$.SPARK_VERSION();
  }

  /** Scala's version as it runs. */
  static String runningScala() {
    return Properties$.MODULE$.versionNumberString();
  }

  /** One sentence if Spark, Scala or Java differ in a way that breaks; empty when they fit. */
  Optional<String> mismatch(String runningSpark, String runningScala, int runningJava) {
    if (!line(spark).equals(line(runningSpark))
        || !line(scala).equals(line(runningScala))
        || runningJava < java) {
      return Optional.of(
          "spark-peft %s is compiled for Spark %s, Scala %s, Java %d or newer; running are Spark %s, Scala %s, Java %d"
              .formatted(
                  project,
                  line(spark),
                  line(scala),
                  java,
                  runningSpark,
                  runningScala,
                  runningJava));
    }
    return Optional.empty();
  }

  /** Major and minor part. */
  private static String line(String version) {
    String[] parts = version.split("\\.", -1);
    return parts.length < 2 ? version : parts[0] + "." + parts[1];
  }

  /** Everything that runs, for run records. */
  public static SortedMap<String, String> running() {
    SortedMap<String, String> versions = new TreeMap<>();
    versions.put("spark-peft", compiledFor().project());
    versions.put("spark", runningSpark());
    versions.put("scala", runningScala());
    versions.put("java", Runtime.version().toString());
    versions.put("djl", resource("ai/djl/engine/api.properties", "djl_version"));
    versions.put("pytorch", NativeLibraries.expectedVersion());
    versions.put("natives", NativeLibraries.expected(System.getenv()));
    versions.put("os", System.getProperty("os.name") + " " + System.getProperty("os.arch"));
    return versions;
  }

  /** A property that a library's jar says of itself. */
  private static String resource(String path, String key) {
    try (InputStream in = Versions.class.getClassLoader().getResourceAsStream(path)) {
      if (in == null) {
        return "unknown";
      }
      Properties properties = new Properties();
      properties.load(in);
      return properties.getProperty(key, "unknown");
    } catch (IOException e) {
      throw new UncheckedIOException(path, e);
    }
  }
}
