package org.sparkpeft.core.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.engine.FlatParameters;
import org.sparkpeft.core.engine.GradientScope;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.Probes;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;

/** A language model's loss, gradient and score, with all words' scores at once and in pieces. */
class ScoresInPiecesTest {
  private static final int WORDS = 160;

  private record Step(double loss, float[] gradient, int mostScores) {}

  private static PeftConfig config(String type, String targets, String saved) {
    Map<String, Object> fields = PeftMethods.writeConfig(PeftMethods.named(type).defaults());
    if (!targets.isEmpty()) {
      fields.put("target_modules", List.of(targets.split(" ")));
    }
    fields.put("modules_to_save", saved.isEmpty() ? List.of() : List.of(saved));
    return PeftMethods.readConfig(fields);
  }

  private static ListExamples examples(boolean toText) {
    ListExamples examples = new ListExamples();
    for (int i = 0; i < 3; i++) {
      Philox random = Philox.of(3, "pieces", i);
      int[] text =
          IntStream.range(0, 7 + i).map(t -> 5 + (int) (random.doubleAt(t) * 90)).toArray();
      int[] labels = text.clone();
      labels[1] = TokenObjective.IGNORE;
      examples.add(text, toText ? text : labels);
    }
    return examples;
  }

  private static Step step(TunableModel model, boolean shifted, long maxScores, float[] values) {
    LanguageObjective objective = new LanguageObjective(shifted, maxScores);
    FlatParameters flat = new FlatParameters(model.layout());
    flat.set(values);
    try (NDManager manager = model.device().newManager();
        NDManager step = manager.newSubManager();
        GradientScope scope = GradientScope.open()) {
      ExampleBatch batch = model.batch(examples(!shifted), new int[] {0, 1, 2}, false);
      TuningContext context =
          new TuningContext(
              step, true, Philox.of(1, "x"), batch.input(), Probes.none(), new ArrayList<>());
      Map<String, NDArray> leaves = flat.leaves(step);
      Outputs outputs = model.forward(manager).outputs(step, leaves, batch, context);
      int[] most = new int[1];
      Outputs watched =
          new Outputs(
              outputs.features(),
              features -> {
                NDArray scores = outputs.head().apply(features);
                most[0] = Math.max(most[0], (int) scores.size());
                return scores;
              },
              outputs.words());
      NDArray loss = objective.loss(step, watched, batch);
      double value = loss.getFloat();
      scope.backward(loss);
      float[] gradient = new float[values.length];
      flat.addGradients(leaves, 1, gradient);
      return new Step(value, gradient, most[0]);
    }
  }

  @ParameterizedTest
  @CsvSource({
    "llama-gqa, true, q_proj v_proj, ''", // the head stays
    "llama-gqa, true, q_proj lm_head, ''", // the head has an adapter
    "llama-gqa, true, q_proj, lm_head", // the head is trained in full
    "llama-gqa, true, lm_head, ''", // nothing below the head is trained
    "llama-tied, true, q_proj embed_tokens, ''",
    "gpt2, true, c_attn, ''", // the head is the table of words
    "gemma2, true, q_proj, ''", // scores are capped
    "t5, false, q v, ''", // states are scaled before the head
    "bart, false, q_proj, ''" // scores have a bias
  })
  void sameLossAndGradient(String fixture, boolean shifted, String targets, String saved) {
    String task = shifted ? "text-generation" : "text2text-generation";
    try (TunableModel model =
        TunableModel.load(
            Models.fixture(fixture),
            new TaskConfig(task, List.of(), "auto", 16),
            config("LORA", targets, saved),
            ComputeDevice.cpu())) {
      float[] values = model.initialParameters(1).toArray();
      float[] noise = Philox.of(2, "noise").gaussian(values.length, 0.05);
      for (int i = 0; i < values.length; i++) {
        values[i] += noise[i];
      }
      Step whole = step(model, shifted, Long.MAX_VALUE, values);
      Step pieces = step(model, shifted, 3 * 2 * WORDS, values);
      assertThat(whole.mostScores).isGreaterThanOrEqualTo(3 * 9 * WORDS);
      assertThat(pieces.mostScores).isEqualTo(3 * 2 * WORDS);
      assertThat(pieces.loss).isCloseTo(whole.loss, within(1e-6 * whole.loss));
      double norm = 0;
      for (int i = 0; i < values.length; i++) {
        norm += (double) whole.gradient[i] * whole.gradient[i];
        assertThat(pieces.gradient[i]).isCloseTo(whole.gradient[i], within(1e-6f));
      }
      assertThat(norm).isPositive();
    }
  }

  @ParameterizedTest
  @CsvSource({"llama-gqa, true, q_proj", "t5, false, q"})
  void sameScores(String fixture, boolean shifted, String target) {
    String task = shifted ? "text-generation" : "text2text-generation";
    try (TunableModel model =
            TunableModel.load(
                Models.fixture(fixture),
                new TaskConfig(task, List.of(), "auto", 16),
                config("LORA", target, ""),
                ComputeDevice.cpu());
        NDManager step = model.device().newManager()) {
      ExampleBatch batch = model.batch(examples(!shifted), new int[] {0, 1, 2}, false);
      Outputs outputs =
          model
              .forward(step, AdapterStack.NONE)
              .outputs(step, Map.of(), batch, TuningContext.inference(step, batch.input()));
      Evaluation whole = new LanguageObjective(shifted).score(outputs.all(), batch);
      Evaluation pieces = new LanguageObjective(shifted, 480).score(step, outputs, batch);
      assertThat(pieces.items()).isEqualTo(whole.items());
      assertThat(pieces.loss()).isCloseTo(whole.loss(), within(1e-6));
      assertThat(pieces.accuracy()).isEqualTo(whole.accuracy());
    }
  }
}
