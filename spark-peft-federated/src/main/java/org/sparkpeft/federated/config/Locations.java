package org.sparkpeft.federated.config;

import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.regex.Pattern;
import org.sparkpeft.core.error.ConfigException;

/**
 * Where the files a user names are. A relative path starts at the folder of the recipe that names
 * it; absolute paths (among them {@code /dbfs/...} and {@code /Volumes/...}) and URIs ({@code
 * file:}, {@code hdfs:}, {@code s3a:}, {@code abfss:}, {@code gs:}, {@code dbfs:}, {@code
 * bundled:}) are left as they are. {@code ~} has no meaning here; the shell expands it.
 */
public final class Locations {
  // Two characters at least, so that a Windows drive letter is not taken for a scheme.
  private static final Pattern SCHEME = Pattern.compile("^[A-Za-z][A-Za-z0-9+.-]+:.*");

  private Locations() {}

  public static boolean isUri(String location) {
    return SCHEME.matcher(location).matches();
  }

  /**
   * {@code location} as an absolute path or URI; empty stays empty.
   *
   * @param base folder that relative paths start at
   * @param key configuration key, for the message
   * @throws ConfigException if it cannot be a path
   */
  public static String resolve(Path base, String location, String key) {
    if (location.isEmpty() || isUri(location) || location.startsWith("/")) {
      return location;
    }
    try {
      return base.toAbsolutePath().resolve(location).normalize().toString();
    } catch (InvalidPathException e) {
      throw new ConfigException(key, "is not a path: " + e.getReason() + ", got " + location);
    }
  }
}
