package org.sparkpeft.core.error;

import java.util.ArrayList;
import java.util.List;

/** Collects every mistake of a configuration record, so that all of them are reported at once. */
public final class Problems {
  private final List<Problem> found = new ArrayList<>();

  /**
   * Records a problem unless {@code ok}.
   *
   * @param key field name as the user writes it
   * @param value the value found; appears in the message
   * @param limit what is allowed and what to do, for example {@code must be 1..512; set it to 8 or
   *     16}
   */
  public Problems require(boolean ok, String key, Object value, String limit) {
    if (!ok) {
      found.add(new Problem(key, limit + ", got " + value));
    }
    return this;
  }

  public void add(Problem problem) {
    found.add(problem);
  }

  public boolean isEmpty() {
    return found.isEmpty();
  }

  /**
   * @throws ConfigException with every problem recorded so far, if there is one
   */
  public void throwIfAny() {
    if (!found.isEmpty()) {
      throw new ConfigException(found);
    }
  }
}
