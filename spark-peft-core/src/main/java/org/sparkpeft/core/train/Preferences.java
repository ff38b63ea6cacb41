package org.sparkpeft.core.train;

import java.util.Map;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;

/** What learning from preferences asks of model and method. */
final class Preferences {
  private Preferences() {}

  /**
   * @throws ConfigException if the method has dropout, which would blur the difference between
   *     policy and reference
   */
  static void requireNoDropout(TaskConfig task, PeftConfig peft) {
    Problems problems = new Problems();
    for (Map.Entry<String, Object> field : PeftMethods.writeConfig(peft).entrySet()) {
      String key = field.getKey();
      boolean drops = key.contains("dropout") || key.contains("drop_path");
      problems.require(
          !drops || !(field.getValue() instanceof Number n) || n.doubleValue() == 0,
          key,
          field.getValue(),
          "must be 0 for task "
              + task.task()
              + ", which compares two models and takes neither with dropout");
    }
    problems.throwIfAny();
  }
}
