package org.sparkpeft.tests.support;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;

/** Where things are when tests run. */
public final class Project {
  private Project() {}

  /** The project's folder. */
  public static Path root() {
    Path folder = Path.of("").toAbsolutePath();
    while (!Files.exists(folder.resolve("bin/spark-peft"))) {
      Path parent = folder.getParent();
      if (parent == null) {
        throw new IllegalStateException("not inside the project: " + Path.of("").toAbsolutePath());
      }
      folder = parent;
    }
    return folder;
  }

  /**
   * Real models and data beside the project, from the system property {@code shared.dir} or a
   * folder {@code shared} next to the project's. The calling test is skipped where there are none.
   */
  public static Path shared(String path) {
    String property = System.getProperty("shared.dir", "");
    Path folder = property.isEmpty() ? root().resolveSibling("shared") : Path.of(property);
    assumeTrue(
        Files.exists(folder.resolve(path)), () -> "skipped: there is no " + folder.resolve(path));
    return folder.resolve(path);
  }
}
