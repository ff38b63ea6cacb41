package org.sparkpeft.tests.peft;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.IntStream;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.train.AdapterImport;
import org.sparkpeft.core.train.LocalPlan;
import org.sparkpeft.core.train.LocalResult;
import org.sparkpeft.core.train.LocalTrainer;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.tests.support.Project;

/** The importance that a client reports against Hugging Face PEFT's triplet scores. */
class AdaLoraGoldenTest {
  @TempDir Path temp;

  /** Before the first masking a client's part of a training and the whole one are alike. */
  @ParameterizedTest
  @ValueSource(ints = {0, 1, 2})
  void scoresOfTriplets(int record) {
    GoldenCase golden = GoldenCase.read(Project.shared("golden/minilm-adalora"));
    JsonNode expected = golden.get("adalora").get(record);
    assertThat(expected.get("masked").booleanValue()).isFalse();
    int updates = expected.get("global_step").intValue() + 1;
    AdapterDirectory initial = golden.initial(temp);
    TaskConfig task =
        new TaskConfig(
            "text-classification",
            IntStream.range(0, 4).mapToObj(i -> "label" + i).toList(),
            "auto",
            32);
    try (TunableModel loaded =
        TunableModel.load(
            GoldenCase.withHead(
                Project.shared("models/all-MiniLM-L6-v2"),
                Project.shared("golden/minilm_head.safetensors"),
                temp.resolve("model")),
            task,
            AdapterImport.config(initial),
            ComputeDevice.cpu())) {
      TunableModel model = loaded.withState(loaded.importState(initial));
      GoldenCase.Rows rows = golden.rows();
      TrainConfig training =
          new TrainConfig(
              1,
              0,
              4,
              1,
              "adamw",
              1e-3,
              0.01,
              0.9,
              0.999,
              1e-8,
              0,
              "constant",
              "federation",
              0,
              false);
      LocalPlan client = new LocalPlan(1, 0, "client", 0, updates / 60.0, 0, () -> false);
      LocalResult result =
          new LocalTrainer(model, training)
              .train(model.importAdapter(initial), rows, client, updates, rows::batch);
      JsonNode modules = expected.get("importance");
      double unit = Double.NaN; // what a client divides its scores by
      for (String module :
          List.of("layer.0.attention.self.query", "layer.5.attention.self.value")) {
        String name = "bert.encoder." + module + ".lora_E";
        float[] scores = result.report().get(name);
        JsonNode theirs = modules.get(name + ".default").get("triplet_score");
        assertThat(scores).hasSize(8);
        unit = Double.isNaN(unit) ? theirs.get(0).doubleValue() / scores[0] : unit;
        for (int i = 0; i < scores.length; i++) {
          assertThat(scores[i] * unit / theirs.get(i).doubleValue())
              .as(name + " " + i)
              .isCloseTo(1, Offset.offset(2e-3));
        }
      }
    }
  }
}
