package org.sparkpeft.federated.cli;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.federated.client.ExecutorRuntime;
import org.sparkpeft.federated.client.RuntimeSpec;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.merge.compress.Codec;
import org.sparkpeft.merge.compress.CodecConfig;
import org.sparkpeft.merge.compress.PayloadHeader;

/**
 * What each method would cost in a run, known before it: parameters counted, payloads encoded from
 * random updates of the real layout, memory computed.
 */
final class MethodCosts {
  static final List<String> COLUMNS =
      List.of(
          "method",
          "class",
          "trainable",
          "percent_of_base",
          "optimizer_mb",
          "activation_mb",
          "uplink_kb",
          "downlink_kb",
          "fuses");

  private static final double MB = 1e6;

  private MethodCosts() {}

  /**
   * One row for each method; the recipe's own has the recipe's settings, others their defaults.
   *
   * @param runtime model and task
   * @param types Hugging Face names
   */
  static List<Map<String, Object>> of(RuntimeSpec runtime, Recipe recipe, List<String> types) {
    List<Map<String, Object>> rows = new ArrayList<>();
    for (String type : types) {
      PeftConfig config = config(recipe, type);
      Map<String, Object> row = new LinkedHashMap<>();
      row.put("method", type);
      row.put(
          "class", PeftMethods.named(type).methodClass().name().toLowerCase(java.util.Locale.ROOT));
      try {
        add(row, ExecutorRuntime.of(runtime.withPeft(config)).model(), recipe);
      } catch (ConfigException e) {
        row.put("fuses", "does not fit: " + e.getMessage());
      }
      rows.add(row);
    }
    return rows;
  }

  static PeftConfig config(Recipe recipe, String type) {
    return recipe.peft().peftType().equals(type)
        ? recipe.peft()
        : PeftMethods.named(type).defaults();
  }

  private static void add(Map<String, Object> row, TunableModel model, Recipe recipe) {
    ParameterLayout layout = model.layout();
    row.put("trainable", layout.size());
    row.put("percent_of_base", 100.0 * layout.size() / model.baseParameters());
    // Values, gradient and, with AdamW, two moments, in float32.
    int copies = recipe.train().optimizer().equals("adamw") ? 4 : 2;
    row.put("optimizer_mb", 4.0 * copies * layout.size() / MB);
    row.put("activation_mb", activationBytes(model, recipe) / MB);
    row.put("uplink_kb", payload(recipe.compress().uplink(), layout) / 1e3);
    row.put("downlink_kb", payload(recipe.compress().downlink(), layout) / 1e3);
    row.put("fuses", model.whyNotFused().isEmpty() ? "yes" : "no");
  }

  /** Bytes of one round's payload: that of a random update, to which the codec is blind. */
  static int payload(CodecConfig codec, ParameterLayout layout) {
    float[] update = Philox.of(1, "plan").gaussian(layout.size(), 1);
    return Codec.of(codec)
        .encode(TaskVector.wrap(layout, update), PayloadHeader.of(0, "plan", layout))
        .length;
  }

  /**
   * What one batch of full length keeps for the backward pass, in float32, when every layer is
   * differentiated: for each token and layer the inputs of attention, its queries, keys, values and
   * output, the inputs of two norms and of the activation. Inputs of frozen linear layers are not
   * kept, those of adapted ones are counted as kept already.
   */
  private static double activationBytes(TunableModel model, Recipe recipe) {
    double tokens = (double) recipe.train().batchSize() * recipe.model().maxLength();
    double hidden = model.config().hidden();
    double perLayer = 7 * hidden + model.config().intermediate();
    return 4 * tokens * perLayer * model.config().layers();
  }
}
