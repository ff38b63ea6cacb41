package org.sparkpeft.core.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.sparkpeft.core.testing.SharedFiles.floats;
import static org.sparkpeft.core.testing.SharedFiles.json;
import static org.sparkpeft.core.testing.SharedFiles.tokens;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.List;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.peft.HeadOnlyConfig;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/**
 * With every module trained in full, gradients of all tensors and the losses of four AdamW steps
 * are those of the Hugging Face implementation.
 */
class FullTrainingGoldenTest {
  private static final List<String> EVERYTHING =
      List.of("bert", "roberta", "distilbert", "pre_classifier");

  private static TunableModel load(String fixture, TaskConfig task) {
    List<String> names =
        EVERYTHING.stream()
            .filter(
                name ->
                    fixture.startsWith(name)
                        || (name.equals("roberta") && fixture.startsWith("xlm"))
                        || (name.equals("pre_classifier") && fixture.startsWith("distil")))
            .toList();
    return TunableModel.load(
        Models.fixture(fixture), task, new HeadOnlyConfig(names), ComputeDevice.cpu());
  }

  private static ListExamples examples(String fixture) {
    ListExamples examples = new ListExamples();
    for (JsonNode c : json("golden/architectures/" + fixture + "/golden.json").get("cases")) {
      if (c.get("name").asText().equals("batch_right_padding")) {
        for (int row = 0; row < c.get("labels").size(); row++) {
          JsonNode mask = c.get("inputs").get("attention_mask").get(row);
          JsonNode label = c.get("labels").get(row);
          examples.add(
              tokens(c.get("inputs").get("input_ids").get(row), mask),
              label.isArray() ? tokens(label, mask) : new int[] {label.intValue()});
        }
      }
    }
    return examples;
  }

  @ParameterizedTest
  @CsvSource({
    "bert-sequence-classification, text-classification, 3",
    "roberta-sequence-classification, text-classification, 3",
    "xlm-roberta-sequence-classification, text-classification, 2",
    "distilbert-sequence-classification, text-classification, 3",
    "bert-token-classification, token-classification, 5"
  })
  void gradientsAndLosses(String fixture, String taskName, int labels) {
    JsonNode training = json("golden/architectures/" + fixture + "/golden.json").get("training");
    TaskConfig text = Models.classification(labels);
    TaskConfig task = new TaskConfig(taskName, text.labels(), "auto", 16);
    ListExamples examples = examples(fixture);
    try (TunableModel model = load(fixture, task)) {
      LocalTrainer trainer = new LocalTrainer(model, Models.referenceTraining());
      ParameterVector start = model.initialParameters(1);
      int[] all = {0, 1, 2};

      float[] gradient = new float[start.size()];
      double loss = trainer.loss(start.toArray(), examples, all, model::forward, gradient);
      assertThat(loss).isCloseTo(training.get("loss").doubleValue(), Offset.offset(1e-5));
      double total = training.get("total_grad_norm").doubleValue();
      training
          .get("grad_norms")
          .properties()
          .forEach(
              entry -> {
                ParameterLayout.Entry place = model.layout().entry(entry.getKey());
                double sum = 0;
                for (int i = place.offset(); i < place.end(); i++) {
                  sum += (double) gradient[i] * gradient[i];
                }
                double expected = entry.getValue().doubleValue();
                assertThat(Math.sqrt(sum))
                    .as(entry.getKey())
                    .isCloseTo(expected, Offset.offset(1e-4 * expected + 1e-5 * total));
              });
      assertThat(training.get("grad_norms").size()).isEqualTo(model.layout().entries().size());

      float[] losses = floats(training.get("losses_before_each_step"));
      double mean = 0;
      for (int steps = 1; steps <= losses.length; steps++) {
        mean += losses[steps - 1];
        LocalResult result =
            trainer.run(start, examples, LocalPlan.alone(1), steps, update -> List.of(all));
        assertThat(result.meanLoss() * steps)
            .as("sum of the first %d losses", steps)
            .isCloseTo(mean, Offset.offset(1e-4 * mean));
      }
    }
  }

  @Test
  void otherLossesOnTheSameHead() {
    JsonNode types =
        json("golden/architectures/bert-sequence-classification/golden.json")
            .get("problem_types_on_case_batch_right_padding");
    ListExamples texts = examples("bert-sequence-classification");
    types
        .properties()
        .forEach(
            entry -> {
              ListExamples examples = new ListExamples();
              for (int row = 0; row < texts.size(); row++) {
                examples.addValues(
                    texts.tokens(row), floats(entry.getValue().get("labels").get(row)));
              }
              String name =
                  entry.getKey().startsWith("multi") ? "multi-label-classification" : "regression";
              TaskConfig task = new TaskConfig(name, List.of("a", "b", "c"), "cls", 16);
              try (TunableModel model = load("bert-sequence-classification", task)) {
                LocalTrainer trainer = new LocalTrainer(model, Models.referenceTraining());
                ParameterVector start = model.initialParameters(1);
                double expected = entry.getValue().get("loss").doubleValue();
                LocalResult result =
                    trainer.run(
                        start,
                        examples,
                        LocalPlan.alone(1),
                        1,
                        update -> List.of(new int[] {0, 1, 2}));
                assertThat(result.meanLoss()).as(name).isCloseTo(expected, Offset.offset(1e-5));
                assertThat(trainer.evaluate(start, examples).loss())
                    .as(name)
                    .isCloseTo(expected, Offset.offset(1e-5));
              }
            });
  }
}
