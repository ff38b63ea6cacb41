package org.sparkpeft.core.train;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.peft.HeadOnlyConfig;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.allocation.AdaLora;
import org.sparkpeft.core.peft.allocation.IncreLora;
import org.sparkpeft.core.peft.allocation.LightPeft;
import org.sparkpeft.core.peft.allocation.Spt;
import org.sparkpeft.core.peft.allocation.TriAdaptLora;
import org.sparkpeft.core.vector.ParameterVector;

/** Methods that decide while they train, on an encoder: the decision is kept, saved and folded. */
class AllocationTrainingTest {
  private static final int UPDATES = 16;
  private static final TargetModules TARGETS = TargetModules.of("query", "output.dense");
  private static final List<String> HEAD = List.of("classifier");

  @TempDir Path temp;

  static Stream<PeftConfig> configurations() {
    return Stream.of(
        new AdaLora.Config(
            2, 4, 4, 4, 2, 0.85, 0.85, 0.5, 0, 8, 0.1, TARGETS, List.of(), List.of(), HEAD),
        new IncreLora.Config(
            2, 1, 1, 4, 2, 2, 3, 0.85, 0.85, 0.1, true, 8, 0.1, TARGETS, List.of(), List.of(),
            HEAD),
        new TriAdaptLora.Config(
            3, 1, 2, 5, "linear", 2, 3, 0.5, 8, 0.1, TARGETS, List.of(), List.of(), HEAD),
        new Spt.Config(4, "lora", 900, 10, 5, 4, 0.1, TARGETS, List.of(), List.of(), HEAD),
        new Spt.Config(4, "adapter", 900, 10, 5, 4, 0.1, TARGETS, List.of(), List.of(), HEAD),
        new LightPeft.Config(
            4, 8, 0.1, 6, 1e-4, 0.4, 0.3, 0.5, 0.5, TARGETS, List.of(), List.of(), HEAD));
  }

  @ParameterizedTest
  @MethodSource("configurations")
  void decidesSavesAndFolds(PeftConfig config) {
    ModelDirectory directory = Models.fixture("bert-sequence-classification");
    TaskConfig task = Models.classification(3);
    ListExamples examples = ListExamples.random(24, 3, 15, 160, 6);
    TrainConfig training =
        new TrainConfig(
            1,
            UPDATES,
            8,
            1,
            "adamw",
            1e-2,
            0.01,
            0.9,
            0.999,
            1e-8,
            1,
            "constant",
            "round",
            0,
            false);
    try (TunableModel loaded = TunableModel.load(directory, task, config, ComputeDevice.cpu())) {
      TunableModel model = loaded.started(3);
      ParameterVector start = model.initialParameters(3);
      LocalResult client =
          new LocalTrainer(model, training)
              .train(start, examples, new LocalPlan(3, 0, "c", 0, 0.25, 0, () -> false));
      assertThat(client.state()).as("a client decides nothing").isEqualTo(model.state());
      assertThat(client.report()).isNotEmpty();
      LocalResult result =
          new LocalTrainer(model, training).train(start, examples, LocalPlan.alone(3));
      assertThat(result.state()).isNotEqualTo(model.state());
      assertThat(result.report()).isEmpty();
      double last =
          result.losses().subList(UPDATES - 4, UPDATES).stream().mapToDouble(l -> l).sum();
      double first = result.losses().subList(0, 4).stream().mapToDouble(l -> l).sum();
      assertThat(last).isLessThan(first);

      TunableModel after = model.withState(result.state());
      float[][] expected = logits(after, result.parameters(), examples);
      Path folder = temp.resolve("adapter");
      after.exportAdapter(result.parameters(), folder);
      AdapterDirectory adapter = AdapterDirectory.read(folder);
      TunableModel same = model.withState(model.importState(adapter));
      assertThat(logits(same, same.importAdapter(adapter), examples)).isDeepEqualTo(expected);
      try (TunableModel again =
          TunableModel.load(directory, task, AdapterImport.config(adapter), ComputeDevice.cpu())) {
        TunableModel read = again.withState(again.importState(adapter));
        assertThat(logits(read, read.importAdapter(adapter), examples)).isDeepEqualTo(expected);
      }
      if (after.whyNotFused().isEmpty()) {
        ModelDirectory fused = after.exportFused(result.parameters(), temp.resolve("fused"));
        try (TunableModel plain =
            TunableModel.load(fused, task, HeadOnlyConfig.defaults(), ComputeDevice.cpu())) {
          float[][] actual = logits(plain, plain.initialParameters(0), examples);
          for (int i = 0; i < actual.length; i++) {
            assertThat(actual[i]).usingComparatorWithPrecision(2e-5f).containsExactly(expected[i]);
          }
        }
      }
    }
  }

  private static float[][] logits(
      TunableModel model, ParameterVector parameters, ListExamples examples) {
    return new LocalTrainer(model, Models.referenceTraining()).logits(parameters, examples);
  }
}
