package org.sparkpeft.federated.cli;

import java.io.IOException;
import java.io.InputStream;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import scala.util.Properties$;

/** Versions of this project and of what it stands on. */
public final class Versions {
  private static final String UNKNOWN = "unknown";

  private Versions() {}

  /** Name to version, in the order to show them. */
  public static Map<String, String> all() {
    Map<String, String> versions = new LinkedHashMap<>();
    // Classes that were not packed in a jar have no version of their own.
    versions.put(
        "spark-peft",
        Optional.ofNullable(Versions.class.getPackage().getImplementationVersion())
            .orElse("development"));
    versions.put("spark", org.apache.spark.package$.MODULE$.SPARK_VERSION());
    versions.put("scala", Properties$.MODULE$.versionNumberString());
    versions.put("java", Runtime.version().toString());
    versions.put("djl", resource("ai/djl/engine/api.properties", "djl_version"));
    versions.put("pytorch", resource("native/lib/pytorch.properties", "version"));
    versions.put("os", System.getProperty("os.name") + " " + System.getProperty("os.arch"));
    return versions;
  }

  private static String resource(String path, String key) {
    try (InputStream in = Versions.class.getClassLoader().getResourceAsStream(path)) {
      if (in == null) {
        return UNKNOWN;
      }
      Properties properties = new Properties();
      properties.load(in);
      return properties.getProperty(key, UNKNOWN);
    } catch (IOException e) {
      return UNKNOWN;
    }
  }
}
