package org.sparkpeft.core.train;

import java.util.Map;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.Problems;
import org.sparkpeft.core.model.Backbone;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;

/** What learning from preferences asks of model and method. */
final class Preferences {
  private Preferences() {}

  /**
   * @throws ConfigException unless the model is a decoder and the method has no dropout, which
   *     would blur the difference between policy and reference
   */
  static void requireFit(TaskConfig task, PeftConfig peft, Backbone backbone) {
    if (backbone.isEncoderDecoder() || backbone.seesAhead()) {
      throw new ConfigException(
          "task",
          task.task()
              + " needs a decoder, such as Llama or GPT-2, that continues a prompt; this model is"
              + (backbone.seesAhead() ? " an encoder" : " an encoder with a decoder"));
    }
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
