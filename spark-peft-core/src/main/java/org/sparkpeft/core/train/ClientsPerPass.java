package org.sparkpeft.core.train;

import java.io.Serializable;
import org.sparkpeft.core.error.ConfigException;

/**
 * How many clients of a round share their passes through the base, see {@link ClientPass}.
 *
 * @param number 1..64 clients, or 0 for {@code auto}
 */
public record ClientsPerPass(int number) implements Serializable {
  /** Clients are trained one after the other. */
  public static final ClientsPerPass ONE = new ClientsPerPass(1);

  /** As many as make about {@value #AUTO_ROWS} examples a pass. */
  public static final ClientsPerPass AUTO = new ClientsPerPass(0);

  private static final int MOST = 64;

  /** Examples of 16 tokens from which on more save little on a processor. */
  private static final int AUTO_ROWS = 64;

  public ClientsPerPass {
    if (number < 0 || number > MOST) {
      throw wrong(number);
    }
  }

  /**
   * From a configuration value: a whole number or {@code auto}.
   *
   * @throws ConfigException if it is neither
   */
  public static ClientsPerPass fromConfig(Object value) {
    if (value.equals("auto")) {
      return AUTO;
    }
    if (value instanceof Number && value.toString().matches("[1-9]\\d?")) {
      return new ClientsPerPass(Integer.parseInt(value.toString()));
    }
    throw wrong(value);
  }

  private static ConfigException wrong(Object value) {
    return new ConfigException(
        "clients_per_pass",
        "must be auto or 1.." + MOST + "; 1 trains clients one by one, got " + value);
  }

  /** What {@link #fromConfig} reads back. */
  public Object toConfig() {
    return number == 0 ? "auto" : number;
  }

  /**
   * Clients that share a pass. Follows from the configuration alone, so that the same clients share
   * one wherever a run takes place.
   *
   * @param batchSize examples in a client's batch
   */
  public int clients(int batchSize) {
    return number == 0 ? Math.max(1, AUTO_ROWS / batchSize) : number;
  }
}
