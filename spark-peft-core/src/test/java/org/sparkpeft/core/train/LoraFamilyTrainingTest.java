package org.sparkpeft.core.train;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.peft.HeadOnlyConfig;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.lora.Dsee;
import org.sparkpeft.core.vector.ParameterVector;

/** LoRA's relatives on a whole model: they learn, and files and fused weights compute the same. */
class LoraFamilyTrainingTest {
  @TempDir Path temp;

  @ParameterizedTest
  @ValueSource(
      strings = {"VERA", "SVFIT", "TUCKER_FLORA", "DSEE", "PRUNED_DSEE", "MTLORA", "QLORA"})
  void learnsAndSurvivesItsFile(String type) {
    ModelDirectory directory = Models.fixture("bert-sequence-classification");
    PeftConfig config = config(type);
    TaskConfig task = Models.classification(3);
    ListExamples examples = ListExamples.random(16, 3, 12, 160, 6);
    TrainConfig training =
        new TrainConfig(
            8, 0, 8, 1, "adamw", 2e-2, 0, 0.9, 0.999, 1e-8, 0, "constant", "round", 0, true);
    try (TunableModel loaded = TunableModel.load(directory, task, config, ComputeDevice.cpu());
        TunableModel base =
            TunableModel.load(directory, task, HeadOnlyConfig.defaults(), ComputeDevice.cpu())) {
      TunableModel model = loaded.started(3);
      ParameterVector start = model.initialParameters(3);
      float[][] plain = logits(base, base.initialParameters(3), examples);
      if (!type.equals("QLORA")) {
        assertThat(logits(model, start, examples)).isDeepEqualTo(plain);
      }
      LocalResult result =
          new LocalTrainer(model, training).train(start, examples, LocalPlan.alone(1));
      List<Double> losses = result.losses();
      assertThat(losses.get(losses.size() - 1)).isLessThan(losses.get(0));

      TunableModel trained = model.withState(result.state());
      ParameterVector parameters = result.parameters();
      float[][] expected = logits(trained, parameters, examples);
      trained.exportAdapter(parameters, temp.resolve("adapter"));
      AdapterDirectory adapter = AdapterDirectory.read(temp.resolve("adapter"));
      try (TunableModel again =
          TunableModel.load(directory, task, AdapterImport.config(adapter), ComputeDevice.cpu())) {
        TunableModel read = again.withState(again.importState(adapter));
        assertThat(logits(read, read.importAdapter(adapter), examples)).isDeepEqualTo(expected);
      }
      Optional<String> reason = trained.whyNotFused();
      assertThat(reason.isPresent()).isEqualTo(type.equals("MTLORA") || type.equals("QLORA"));
      if (reason.isEmpty()) {
        ModelDirectory fused = trained.exportFused(parameters, temp.resolve("fused"));
        try (TunableModel folded =
            TunableModel.load(fused, task, HeadOnlyConfig.defaults(), ComputeDevice.cpu())) {
          float[][] actual = logits(folded, folded.initialParameters(0), examples);
          for (int i = 0; i < actual.length; i++) {
            assertThat(actual[i])
                .containsExactly(expected[i], org.assertj.core.data.Offset.offset(2e-5f));
          }
        }
      }
    }
  }

  /** DSEE prunes when half the updates are done. */
  private static PeftConfig config(String type) {
    return type.equals("PRUNED_DSEE")
        ? new Dsee.Config(
            4,
            8,
            0,
            16,
            "decomposed",
            0.3,
            0.5,
            TargetModules.of("query", "value"),
            List.of(),
            List.of("classifier"))
        : PeftMethods.named(type).defaults();
  }

  private static float[][] logits(
      TunableModel model, ParameterVector parameters, ListExamples examples) {
    return new LocalTrainer(model, Models.referenceTraining()).logits(parameters, examples);
  }
}
