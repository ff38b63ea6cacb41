package org.sparkpeft.core.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.random.Philox;

/** Several cores give a batch's loss and gradient as one does, the same bits every time. */
class BatchGradientsTest {
  private static final ComputeDevice ONE = ComputeDevice.cpu();
  private static final ComputeDevice THREE = new ComputeDevice("cpu", 3);

  /**
   * @param gradient of all parameters
   */
  private record Found(double loss, float[] gradient) {}

  private static TunableModel load(
      String fixture, String task, String type, String labels, ComputeDevice device) {
    List<String> names = labels.isEmpty() ? List.of() : List.of(labels.split(" "));
    Map<String, Object> fields = PeftMethods.writeConfig(PeftMethods.named(type).defaults());
    fields.computeIfPresent("num_virtual_tokens", (name, number) -> 3);
    PeftConfig peft = PeftMethods.readConfig(fields);
    return TunableModel.load(
            Models.fixture(fixture), new TaskConfig(task, names, "auto", 16), peft, device)
        .started(1);
  }

  /** Texts of different lengths, in a language task with few labels and one without any. */
  private static ListExamples examples(String task, int count) {
    ListExamples examples = new ListExamples();
    for (int i = 0; i < count; i++) {
      Philox random = Philox.of(3, "cores", i);
      int[] text =
          IntStream.range(0, 4 + i).map(t -> 5 + (int) (random.doubleAt(t) * 90)).toArray();
      int number = i;
      switch (task) {
        case "text-generation", "text2text-generation" ->
            examples.add(
                text,
                IntStream.range(0, text.length)
                    .map(t -> t < 2 || number == 3 ? TokenObjective.IGNORE : text[t])
                    .toArray());
        case "token-classification" ->
            examples.add(text, IntStream.of(text).map(id -> id % 3).toArray());
        default -> examples.add(text, i % 3);
      }
    }
    return examples;
  }

  private static Found found(TunableModel model, ListExamples examples, int... indices) {
    float[] at = model.initialParameters(1).toArray();
    float[] noise = Philox.of(2, "noise").gaussian(at.length, 0.05);
    for (int i = 0; i < at.length; i++) {
      at[i] += noise[i];
    }
    float[] gradient = new float[at.length];
    double loss =
        new LocalTrainer(model, Models.referenceTraining())
            .loss(at, examples, indices, model::forward, gradient);
    return new Found(loss, gradient);
  }

  @ParameterizedTest
  @CsvSource({
    "bert-sequence-classification, text-classification, LORA, a b c",
    "bert-sequence-classification, text-classification, MOLA, a b c", // not apart: counts all
    "bert-sequence-classification, text-classification, PREFIX_TUNING, a b c",
    "bert-token-classification, token-classification, LORA, a b c",
    "llama-gqa, text-generation, LORA, ''",
    "llama-gqa, text-generation, PROMPT_TUNING, ''", // virtual tokens predict too
    "t5, text2text-generation, LORA, ''"
  })
  void coresAgree(String fixture, String task, String type, String labels) {
    ListExamples examples = examples(task, 7);
    int[] some = {6, 0, 3, 2, 5};
    try (TunableModel alone = load(fixture, task, type, labels, ONE);
        TunableModel together = load(fixture, task, type, labels, THREE)) {
      Found expected = found(alone, examples, some);
      Found found = found(together, examples, some);
      assertThat(found.loss).isCloseTo(expected.loss, within(1e-6 * expected.loss));
      float largest = 0;
      for (float value : expected.gradient) {
        largest = Math.max(largest, Math.abs(value));
      }
      assertThat(largest).isPositive();
      assertThat(found.gradient).containsExactly(expected.gradient, within(1e-5f * largest));
      for (int again = 0; again < 5; again++) {
        assertThat(found(together, examples, some)).usingRecursiveComparison().isEqualTo(found);
      }
      // Fewer examples than cores.
      assertThat(found(together, examples, 4).loss)
          .isCloseTo(found(alone, examples, 4).loss, within(1e-6));
    }
  }

  @Test
  void aPartWithoutLabelsCountsNothingAndABatchWithoutSaysSo() {
    ListExamples examples = examples("text-generation", 5);
    try (TunableModel alone = load("llama-gqa", "text-generation", "LORA", "", ONE);
        TunableModel together = load("llama-gqa", "text-generation", "LORA", "", THREE)) {
      // A core's part is the one text that has no labels.
      assertThat(found(together, examples, 0, 3, 1).loss)
          .isCloseTo(found(alone, examples, 0, 3, 1).loss, within(1e-6));
      assertThatThrownBy(() -> found(together, examples, 3, 3))
          .isInstanceOf(DataException.class)
          .hasMessageContaining("no token of a batch has a label: example 3");
    }
  }
}
