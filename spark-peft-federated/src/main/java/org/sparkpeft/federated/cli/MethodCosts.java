package org.sparkpeft.federated.cli;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.core.train.TrainingMemory;
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
 * What each method would cost in a run, known before it: parameters and memory counted, payloads
 * encoded from random updates of the real layout.
 */
final class MethodCosts {
  static final List<String> COLUMNS =
      List.of(
          "method",
          "class",
          "trainable",
          "percent_of_base",
          "base_mb",
          "optimizer_mb",
          "activation_mb",
          "uplink_kb",
          "downlink_kb",
          "fuses");

  /** What the columns mean and how far they can be trusted. */
  static final List<String> NOTES =
      List.of(
          "base_mb: the frozen base in model.dtype, once a process, exact",
          "optimizer_mb: values, gradients and the optimiser's moments of one client, exact",
          "activation_mb: what one full batch keeps for its backward pass, measured on a few texts,"
              + " so the last per cents vary; the backward pass takes about two layers' part more"
              + " for a moment",
          "uplink_kb, downlink_kb: estimate of one client's payload of a round, from an update"
              + " spread evenly over all entries; early rounds, and entries that a method leaves"
              + " alone, take less");

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
    boolean proximal =
        recipe.aggregate().method().equals("fedprox") && recipe.aggregate().proximalMu() > 0;
    row.put("base_mb", model.baseBytes() / MB);
    row.put(
        "optimizer_mb",
        TrainingMemory.of(recipe.train(), layout, proximal, recipe.spark().taskCpus()).total()
            / MB);
    TrainConfig train = recipe.train();
    TrainingMemory.activations(model, train.batchSize(), train.gradientCheckpointing())
        .ifPresent(bytes -> row.put("activation_mb", bytes / MB));
    row.put("uplink_kb", payload(recipe.compress().uplink(), model) / 1e3);
    row.put("downlink_kb", payload(recipe.compress().downlink(), model) / 1e3);
    row.put("fuses", model.whyNotFused().isEmpty() ? "yes" : "no");
  }

  /**
   * Bytes of one client's payload of a round: that of a random update, zero where entries stay with
   * the client. Exact for {@code none} and {@code fp16}. Entropy-coded, a real update takes as much
   * if training moves all entries alike, and less where a few tensors move most: LoRA's A hardly
   * moves as long as B is near zero.
   */
  static int payload(CodecConfig codec, TunableModel model) {
    ParameterLayout layout = model.layout();
    float[] update = Philox.of(1, "plan").gaussian(layout.size(), 1);
    for (ParameterLayout.Entry entry : layout.entries()) {
      if (model.roles().apply(entry.name()).sharing() == TensorRole.Sharing.PERSONAL) {
        Arrays.fill(update, entry.offset(), entry.end(), 0);
      }
    }
    return Codec.of(codec)
        .encode(TaskVector.wrap(layout, update), PayloadHeader.of(0, "client", layout))
        .length;
  }
}
