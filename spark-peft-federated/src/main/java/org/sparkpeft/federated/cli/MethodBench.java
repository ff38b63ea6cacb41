package org.sparkpeft.federated.cli;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalLong;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.train.LocalPlan;
import org.sparkpeft.core.train.LocalResult;
import org.sparkpeft.core.train.LocalTrainer;
import org.sparkpeft.core.train.NonFiniteException;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.core.train.TrainingMemory;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.federated.client.ExecutorRuntime;
import org.sparkpeft.federated.client.RuntimeSpec;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.merge.compress.Codec;
import org.sparkpeft.merge.compress.PayloadHeader;

/**
 * Trains one method after another on the same examples, in the same order, for as many steps, and
 * measures. Steps are timed in turns with LoRA's, so that what else the machine does falls on both;
 * memory is that of {@link TrainingMemory}. LoRA goes first.
 */
final class MethodBench {
  static final List<String> COLUMNS =
      List.of(
          "method",
          "accuracy",
          "trainable",
          "uplink_kb",
          "seconds_per_step",
          "step_vs_lora",
          "memory_vs_lora",
          "learning_rate",
          "note");

  private static final String LORA = "LORA";

  /** How often a method and LoRA are timed in turns; the fastest of each step counts. */
  private static final int TURNS = 2;

  /** Steps at the start of a turn, in which some methods do what they do once; not timed. */
  private static final int SETTLING = 10;

  /** Steps of a turn: those timed have one of everything that methods do every 20 steps. */
  private static final int TURN_STEPS = SETTLING + 20;

  private final Recipe recipe;
  private final RuntimeSpec runtime;
  private final Examples train;
  private final Examples test;
  private final int steps;
  private double loraMemory = Double.NaN;

  /**
   * @param steps optimiser updates of each method
   */
  MethodBench(Recipe recipe, RuntimeSpec runtime, Examples train, Examples test, int steps) {
    this.recipe = recipe;
    this.runtime = runtime;
    this.train = train;
    this.test = test;
    this.steps = steps;
  }

  /**
   * @param done told of each row as it is there
   */
  List<Map<String, Object>> run(
      List<String> types, java.util.function.Consumer<Map<String, Object>> done) {
    List<String> order = new ArrayList<>(types);
    order.remove(LORA);
    order.add(0, LORA);
    List<Map<String, Object>> rows = new ArrayList<>();
    for (String type : order) {
      Map<String, Object> row = new LinkedHashMap<>();
      row.put("method", type);
      try {
        measure(row, MethodCosts.config(recipe, type), PeftMethods.named(type).usualRate());
      } catch (ConfigException | DataException | NonFiniteException e) {
        row.put("note", e.getMessage());
      }
      rows.add(row);
      done.accept(row);
    }
    return rows;
  }

  private void measure(Map<String, Object> row, PeftConfig config, double usualRate) {
    double rate = recipe.train().learningRate() * usualRate;
    TunableModel model = model(config);
    ParameterVector start = model.initialParameters(seed());
    row.put("trainable", model.layout().size());
    LocalResult result = train(model, start, rate, steps);
    double memory = memory(model);
    if (Double.isNaN(loraMemory)) {
      loraMemory = memory;
    }
    TunableModel trained = model.withState(result.state());
    row.put(
        "accuracy",
        new LocalTrainer(trained, recipe.train())
            .evaluate(result.parameters(), test)
            .metrics()
            .get("accuracy"));
    byte[] payload =
        Codec.of(recipe.compress().uplink())
            .encode(result.parameters().minus(start), PayloadHeader.of(0, "bench", model.layout()));
    row.put("uplink_kb", payload.length / 1e3);
    time(row, model, rate);
    if (Double.isFinite(memory / loraMemory)) {
      row.put("memory_vs_lora", memory / loraMemory);
    }
    row.put("learning_rate", rate);
  }

  /** What training holds beside the base, in bytes; NaN where activations cannot be measured. */
  private double memory(TunableModel model) {
    TrainConfig config = recipe.train();
    OptionalLong activations =
        TrainingMemory.activations(model, config.batchSize(), config.gradientCheckpointing());
    return activations.isPresent()
        ? activations.getAsLong() + TrainingMemory.of(config, model.layout(), false).total()
        : Double.NaN;
  }

  private void time(Map<String, Object> row, TunableModel model, double rate) {
    TunableModel lora = model(MethodCosts.config(recipe, LORA));
    TrainConfig config = recipe.train().withLearningRate(rate);
    double[] own = new double[TURN_STEPS];
    double[] loras = new double[TURN_STEPS];
    Arrays.fill(own, Double.POSITIVE_INFINITY);
    Arrays.fill(loras, Double.POSITIVE_INFINITY);
    for (int turn = 0; turn < TURNS; turn++) {
      keepFastest(loras, TimedTraining.run(lora, config, train, seed(), TURN_STEPS).millis());
      keepFastest(own, TimedTraining.run(model, config, train, seed(), TURN_STEPS).millis());
    }
    row.put("seconds_per_step", mean(own) * 1e-3);
    row.put("step_vs_lora", mean(own) / mean(loras));
  }

  private static double mean(double[] millis) {
    return Arrays.stream(millis).skip(SETTLING).average().orElseThrow();
  }

  private static void keepFastest(double[] fastest, double[] millis) {
    Arrays.setAll(fastest, i -> Math.min(fastest[i], millis[i]));
  }

  private TunableModel model(PeftConfig config) {
    return ExecutorRuntime.of(runtime.withPeft(config)).model().started(seed());
  }

  private long seed() {
    return recipe.run().seed();
  }

  private LocalResult train(TunableModel model, ParameterVector start, double rate, int updates) {
    TrainConfig config = recipe.train().withLocalSteps(updates).withLearningRate(rate);
    return new LocalTrainer(model, config).train(start, train, LocalPlan.alone(seed()));
  }

  /** The rows as a table in Markdown. */
  static String markdown(List<Map<String, Object>> rows, Recipe recipe, int steps) {
    StringBuilder text = new StringBuilder("# Methods compared\n\n");
    text.append(
        """
        Each method is trained on the same examples in one place, %d steps of batches of %d, and
        scored on the test data. Steps are timed in turns with LoRA's; memory is what training
        holds beside the base: values, gradients, moments, what a full batch keeps for its gradient.
        The rate is what suits the method, found on other rows. Recipe `%s`, `bin/spark-peft bench methods -c RECIPE --steps %d`.

        """
            .formatted(steps, recipe.train().batchSize(), recipe.run().name(), steps));
    text.append("| ").append(String.join(" | ", COLUMNS)).append(" |\n");
    text.append("|").append("---|".repeat(COLUMNS.size())).append('\n');
    for (Map<String, Object> row : rows) {
      List<String> cells = new ArrayList<>();
      for (String column : COLUMNS) {
        Object value = row.get(column);
        cells.add(
            value instanceof Double number
                ? String.format(Locale.ROOT, "%.4g", number)
                : value == null ? "" : value.toString().replace("|", "\\|"));
      }
      text.append("| ").append(String.join(" | ", cells)).append(" |\n");
    }
    return text.toString();
  }
}
