package org.sparkpeft.core.io;

import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Assumptions;

/** Reference models and golden adapters, which lie beside the project and not in it. */
final class SharedFolder {
  private SharedFolder() {}

  /** A file or folder below it; skips the test if there is none. */
  static Path resolve(String relative) {
    String property = System.getProperty("shared.dir", "");
    Path folder = property.isEmpty() ? besideProject() : Path.of(property);
    Path path = folder.resolve(relative);
    Assumptions.assumeTrue(
        Files.exists(path), () -> path + " is absent; set -Dshared.dir to run this test");
    return path;
  }

  private static Path besideProject() {
    Path at = Path.of("").toAbsolutePath();
    for (Path dir = at; dir != null; dir = dir.getParent()) {
      if (Files.isDirectory(dir.resolve("shared/models"))) {
        return dir.resolve("shared");
      }
    }
    return at.resolve("shared");
  }
}
