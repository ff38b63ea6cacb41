package org.sparkpeft.federated.config;

import java.io.Serializable;
import org.sparkpeft.core.error.Problems;

/**
 * What a run is called and where it leaves its files.
 *
 * @param name short name: letters, digits, dot, dash, underscore
 * @param dir folder of checkpoints, adapters, events and the report; a recipe without one gets
 *     {@code runs/NAME} beside it
 * @param seed every random choice of the run derives from it
 */
public record RunConfig(String name, String dir, long seed) implements Serializable {

  public RunConfig {
    new Problems()
        .require(
            name.matches("[A-Za-z0-9][A-Za-z0-9._-]{0,99}"),
            "name",
            name,
            "must be 1..100 letters, digits, dots, dashes or underscores")
        .require(!dir.isBlank(), "dir", "\"" + dir + "\"", "must name a folder")
        .throwIfAny();
  }

  public static RunConfig defaults() {
    return new RunConfig("run", defaultDir("run"), 7);
  }

  /** The folder of a run that does not name one. */
  static String defaultDir(String name) {
    return "runs/" + name;
  }

  public RunConfig withDir(String newDir) {
    return new RunConfig(name, newDir, seed);
  }
}
