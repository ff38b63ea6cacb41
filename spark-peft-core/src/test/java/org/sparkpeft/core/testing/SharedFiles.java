package org.sparkpeft.core.testing;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Assumptions;

/**
 * Models and reference numbers that lie beside the project in a folder {@code shared}, or where the
 * system property {@code shared.dir} says. Tests are skipped where there is none.
 */
public final class SharedFiles {
  private SharedFiles() {}

  /** A file or folder below the shared folder; skips the calling test if it is absent. */
  public static Path find(String relative) {
    String property = System.getProperty("shared.dir", "");
    if (!property.isEmpty()) {
      return present(Path.of(property).resolve(relative));
    }
    for (Path dir = Path.of("").toAbsolutePath(); dir != null; dir = dir.getParent()) {
      if (Files.isDirectory(dir.resolve("shared"))) {
        return present(dir.resolve("shared").resolve(relative));
      }
    }
    return present(Path.of("shared").resolve(relative));
  }

  private static Path present(Path path) {
    Assumptions.assumeTrue(
        Files.exists(path), () -> path + " is absent; set shared.dir to run this test");
    return path;
  }

  public static JsonNode json(String relative) {
    try {
      return new ObjectMapper().readTree(find(relative).toFile());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** All numbers of a nested array, in order. */
  public static float[] floats(JsonNode array) {
    java.util.List<Float> values = new java.util.ArrayList<>();
    collect(array, values);
    float[] floats = new float[values.size()];
    for (int i = 0; i < floats.length; i++) {
      floats[i] = values.get(i);
    }
    return floats;
  }

  private static void collect(JsonNode node, java.util.List<Float> values) {
    if (node.isArray()) {
      node.forEach(child -> collect(child, values));
    } else {
      values.add((float) node.doubleValue());
    }
  }

  public static int[] ints(JsonNode array) {
    int[] values = new int[array.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = array.get(i).intValue();
    }
    return values;
  }

  /** The ids of an {@code input_ids} row up to the end of its attention mask. */
  public static int[] tokens(JsonNode ids, JsonNode mask) {
    int length = 0;
    for (JsonNode m : mask) {
      length += m.intValue();
    }
    return java.util.Arrays.copyOf(ints(ids), length);
  }
}
