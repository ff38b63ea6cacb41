package org.sparkpeft.federated.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.withinPercentage;

import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.assertj.core.data.Percentage;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.train.LocalPlan;
import org.sparkpeft.core.train.LocalTrainer;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.core.train.TrainingMemory;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.federated.client.ExecutorRuntime;
import org.sparkpeft.federated.client.RuntimeSpec;
import org.sparkpeft.federated.config.Recipe;
import org.sparkpeft.federated.config.RecipeReader;
import org.sparkpeft.merge.compress.Codec;
import org.sparkpeft.merge.compress.CodecConfig;
import org.sparkpeft.merge.compress.ErrorFeedback;
import org.sparkpeft.merge.compress.Payload;
import org.sparkpeft.merge.compress.PayloadHeader;

/** What {@code plan} says is what a run then takes, on the bundled model. */
class MethodCostsTest {
  private static final Recipe RECIPE = RecipeReader.read(Path.of("../conf/quickstart.yaml"));
  private static final RuntimeSpec RUNTIME =
      new RuntimeSpec(
          "bundled:all-MiniLM-L6-v2",
          new TaskConfig("text-classification", List.of("a", "b", "c", "d"), "auto", 64),
          RECIPE.peft(),
          1);
  private static final int STEPS = 10;

  private static TunableModel model(String type) {
    return ExecutorRuntime.of(RUNTIME.withPeft(MethodCosts.config(RECIPE, type)))
        .model()
        .started(RECIPE.run().seed());
  }

  private static Examples examples() {
    Examples.Builder examples = Examples.builder();
    for (int i = 0; i < STEPS * 8; i++) {
      Philox random = Philox.of(1, "costs", i);
      int[] tokens = new int[10];
      for (int t = 0; t < tokens.length; t++) {
        tokens[t] = 1000 + (int) (random.doubleAt(t) * 5000);
      }
      examples.addClass(tokens, i % 4);
    }
    return examples.build();
  }

  private static Map<String, Object> row(String type) {
    return MethodCosts.of(RUNTIME, RECIPE, List.of(type)).get(0);
  }

  /** Numbers of parameters from the methods' formulas, on 6 layers of 384 and a head of 4. */
  @ParameterizedTest
  @CsvSource({
    "LORA, 73728",
    "IA3, 16128",
    "PREFIX_TUNING, 73728",
    "OFT, 71424",
    "VERA, 7680",
    "NONE, 0"
  })
  void trainableParametersAreExact(String type, int own) {
    TunableModel model = model(type);
    int head = 4 * 384 + 4;
    assertThat(row(type).get("trainable"))
        .isEqualTo(own + head)
        .isEqualTo(model.initialParameters(1).toArray().length);
    assertThat(row(type).get("optimizer_mb"))
        .isEqualTo(TrainingMemory.of(RECIPE.train(), model.layout(), false).total() / 1e6)
        .isEqualTo(4.0 * 6 * (own + head) / 1e6); // AdamW: two each of values, gradients, moments
    assertThat((Double) row(type).get("activation_mb"))
        .isCloseTo(
            TrainingMemory.activations(model, RECIPE.train().batchSize(), false).orElseThrow()
                / 1e6,
            withinPercentage(20));
  }

  /**
   * Payloads of two rounds with error feedback against the plan's.
   *
   * @param above by how many per cent the plan may be above them
   */
  @ParameterizedTest
  @CsvSource({"IA3, 2", "OFT, 2", "LORA, 12", "BITFIT, 12"})
  void sparsePayloadsAreAtMostWhatIsPlanned(String type, double above) {
    TunableModel model = model(type);
    CodecConfig config = RECIPE.compress().uplink();
    Codec codec = Codec.of(config);
    LocalTrainer trainer = new LocalTrainer(model, RECIPE.train());
    ParameterVector server = model.initialParameters(RECIPE.run().seed());
    TaskVector residual = TaskVector.zeros(model.layout());
    int planned = MethodCosts.payload(config, model);
    for (int round = 1; round <= 2; round++) {
      LocalPlan plan = new LocalPlan(7, round, "client-7", 0, 1, 0, () -> false);
      ParameterVector trained = trainer.train(server, examples(), plan).parameters();
      PayloadHeader header = new PayloadHeader(round, "client-7", model.layout().fingerprint());
      ErrorFeedback.Encoded sent =
          ErrorFeedback.encode(codec, residual, trained.minus(server), header);
      residual = sent.residual().times((float) config.feedback());
      server = server.plus(Payload.decode(sent.payload(), model.layout()).vector());
      assertThat(planned / (double) sent.payload().length)
          .as("round %d, planned %d, sent %d", round, planned, sent.payload().length)
          .isBetween(0.98, 1 + above / 100);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"LORA", "IA3", "BITFIT", "VERA", "HOULSBY", "MOLA"})
  void densePayloadsAreExact(String type) {
    TunableModel model = model(type);
    ParameterVector start = model.initialParameters(1);
    ParameterVector trained =
        new LocalTrainer(model, RECIPE.train().withLocalSteps(2))
            .train(start, examples(), LocalPlan.alone(1))
            .parameters();
    for (String name : List.of("none", "fp16")) {
      CodecConfig config = new CodecConfig(name, 1, "global", "mean", 1, false);
      byte[] sent =
          Codec.of(config)
              .encode(trained.minus(start), PayloadHeader.of(1, "client-7", model.layout()));
      assertThat(MethodCosts.payload(config, model))
          .as(name)
          .isCloseTo(sent.length, Percentage.withPercentage(0.1));
    }
  }
}
