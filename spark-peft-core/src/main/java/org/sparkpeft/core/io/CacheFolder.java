package org.sparkpeft.core.io;

import java.nio.file.Path;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.error.DataException;

/**
 * Where files are kept that can be made again: system property {@code sparkpeft.cache}, else
 * environment variable {@code SPARK_PEFT_CACHE}, else {@code $XDG_CACHE_HOME/spark-peft}, else
 * {@code ~/.cache/spark-peft}. Blank values count as absent, and so does an XDG_CACHE_HOME that is
 * not absolute, as its specification asks.
 */
final class CacheFolder {
  static final String PROPERTY = "sparkpeft.cache";
  static final String VARIABLE = "SPARK_PEFT_CACHE";

  private static final String NAME = "spark-peft";

  private CacheFolder() {}

  static Path root() {
    return root(System::getProperty, System::getenv);
  }

  static Path root(
      Function<String, @Nullable String> properties,
      Function<String, @Nullable String> environment) {
    String property = valueOf(properties, PROPERTY);
    if (!property.isEmpty()) {
      return Path.of(property);
    }
    String variable = valueOf(environment, VARIABLE);
    if (!variable.isEmpty()) {
      return Path.of(variable);
    }
    String xdg = valueOf(environment, "XDG_CACHE_HOME");
    if (!xdg.isEmpty() && Path.of(xdg).isAbsolute()) {
      return Path.of(xdg, NAME);
    }
    // In containers without a passwd entry Java answers "?".
    String home = valueOf(properties, "user.home");
    if (home.isEmpty() || !Path.of(home).isAbsolute()) {
      throw new DataException(
          "there is no home folder for the cache of bundled models; set the environment variable "
              + VARIABLE
              + " or the system property "
              + PROPERTY
              + " to a writable folder");
    }
    return Path.of(home, ".cache", NAME);
  }

  private static String valueOf(Function<String, @Nullable String> source, String name) {
    String value = source.apply(name);
    return value == null ? "" : value.strip();
  }
}
