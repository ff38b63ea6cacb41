package org.sparkpeft.core.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.sparkpeft.core.testing.SharedFiles.find;
import static org.sparkpeft.core.testing.SharedFiles.floats;
import static org.sparkpeft.core.testing.SharedFiles.json;
import static org.sparkpeft.core.testing.SharedFiles.tokens;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.io.WeightSource;
import org.sparkpeft.core.vector.ParameterVector;

/** Hugging Face PEFT's own adapters: the same losses, logits and trained tensors. */
class LoraGoldenTest {
  @TempDir Path temp;

  @ParameterizedTest
  @ValueSource(
      strings = {
        "minilm-lora",
        "minilm-lora-rslora",
        "minilm-lora-layers",
        "minilm-lora-patterns",
        "minilm-lora-modules-to-save"
      })
  void trainsToTheSameNumbers(String name) {
    JsonNode golden = json("golden/" + name + "/golden.json");
    AdapterDirectory initial = AdapterDirectory.read(find("golden/" + name + "/adapter_init"));
    AdapterDirectory expected = AdapterDirectory.read(find("golden/" + name + "/adapter_final"));
    ListExamples examples = new ListExamples();
    List<int[]> batches = new ArrayList<>();
    for (JsonNode batch : golden.get("batches")) {
      int[] indices = new int[batch.get("input_ids").size()];
      for (int row = 0; row < indices.length; row++) {
        indices[row] = examples.size();
        examples.add(
            tokens(batch.get("input_ids").get(row), batch.get("attention_mask").get(row)),
            batch.get("labels").get(row).intValue());
      }
      batches.add(indices);
    }
    ModelDirectory directory = Models.miniLmWithHead(temp);
    try (TunableModel model =
        TunableModel.load(
            directory,
            Models.classification(4),
            AdapterImport.config(initial),
            ComputeDevice.cpu())) {
      assertThat(model.layout().size()).isEqualTo(golden.get("trainable_parameters").intValue());
      LocalTrainer trainer = new LocalTrainer(model, Models.referenceTraining());
      ParameterVector parameters = model.importAdapter(initial);
      assertLogits(trainer, parameters, examples, golden.get("logits_init"));

      int steps = golden.get("steps").intValue();
      float[] losses = floats(golden.get("losses"));
      List<Double> seen = new ArrayList<>();
      for (int prefix = 1; prefix <= steps; prefix += steps - 1) { // mean of 1 and of all losses
        LocalResult result =
            trainer.run(
                parameters,
                examples,
                LocalPlan.alone(1),
                prefix,
                update -> List.of(batches.get(update % batches.size())));
        double mean = 0;
        for (int i = 0; i < prefix; i++) {
          mean += losses[i] / (double) prefix;
        }
        assertThat(result.meanLoss()).isCloseTo(mean, Offset.offset(1e-5));
        seen.add(result.meanLoss());
        if (prefix == steps) {
          assertTensors(model, result.parameters(), expected);
          assertLogits(trainer, result.parameters(), examples, golden.get("logits_final"));
          if (name.equals("minilm-lora-patterns")) { // writes the whole model, so only once
            assertFused(model, directory, result.parameters(), golden.get("merge"));
          }
          assertRoundTrip(model, result.parameters());
        }
      }
      assertThat(seen).hasSize(2);
    }
  }

  private static void assertLogits(
      LocalTrainer trainer, ParameterVector parameters, ListExamples examples, JsonNode expected) {
    float[][] rows = trainer.logits(parameters, examples);
    float[] flat = new float[rows.length * rows[0].length];
    for (int i = 0; i < rows.length; i++) {
      System.arraycopy(rows[i], 0, flat, i * rows[0].length, rows[0].length);
    }
    assertThat(flat).usingComparatorWithPrecision(2e-5f).containsExactly(floats(expected));
  }

  private static void assertTensors(
      TunableModel model, ParameterVector trained, AdapterDirectory expected) {
    assertThat(expected.tensors()).hasSameSizeAs(model.layout().entries());
    for (TensorData tensor : expected.tensors().values()) {
      String name = tensor.name().substring("base_model.model.".length());
      float[] actual = trained.tensor(name);
      float[] wanted = tensor.toFloats();
      assertThat(actual).hasSameSizeAs(wanted);
      // Adam divides by the gradient's size: where that is rounding noise, so is the entry.
      int apart = 0;
      double worst = 0;
      for (int i = 0; i < actual.length; i++) {
        double distance = Math.abs((double) actual[i] - wanted[i]);
        worst = Math.max(worst, distance);
        apart += distance > 5e-5 ? 1 : 0;
      }
      assertThat(apart).as(name).isLessThanOrEqualTo(actual.length / 500);
      assertThat(worst).as(name).isLessThan(1e-3);
    }
  }

  private void assertFused(
      TunableModel model, ModelDirectory directory, ParameterVector trained, JsonNode merge) {
    ModelDirectory fused = model.exportFused(trained, temp.resolve("fused"));
    try (WeightSource weights = fused.weights();
        WeightSource base = directory.weights()) {
      for (JsonNode sample : merge.get("samples")) {
        String name = sample.get("weight").asText();
        float value = weights.floats(name)[sample.get("flat_index").intValue()];
        assertThat(value)
            .as(name)
            .isCloseTo((float) sample.get("merged").doubleValue(), Offset.offset(5e-5f));
      }
      merge
          .get("delta_norms")
          .properties()
          .forEach(
              entry -> {
                float[] after = weights.floats(entry.getKey());
                String bare = entry.getKey().replaceFirst("^bert\\.", "");
                float[] before = base.floats(base.contains(entry.getKey()) ? entry.getKey() : bare);
                double sum = 0;
                for (int i = 0; i < after.length; i++) {
                  sum += Math.pow(after[i] - (double) before[i], 2);
                }
                assertThat(Math.sqrt(sum))
                    .as(entry.getKey())
                    .isCloseTo(entry.getValue().doubleValue(), Offset.offset(2e-4));
              });
    }
  }

  private void assertRoundTrip(TunableModel model, ParameterVector trained) {
    Path folder = temp.resolve("exported");
    model.exportAdapter(trained, folder);
    assertThat(model.importAdapter(AdapterDirectory.read(folder))).isEqualTo(trained);
  }
}
