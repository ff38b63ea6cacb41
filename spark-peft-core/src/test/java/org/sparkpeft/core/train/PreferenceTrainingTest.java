package org.sparkpeft.core.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDManager;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterVector;

/** Preferences on a Llama of 18,000 parameters. */
class PreferenceTrainingTest {
  private static final double LOG_TWO = Math.log(2);
  private static final TrainConfig CONFIG =
      new TrainConfig(
          10, 0, 8, 1, "adamw", 1e-2, 0, 0.9, 0.999, 1e-8, 1, "constant", "federation", 0, true);

  private static TunableModel dpo;

  @BeforeAll
  static void load() {
    dpo = model("dpo", PreferenceConfig.defaults(), lora("true", 0));
  }

  @AfterAll
  static void free() {
    if (dpo != null) {
      dpo.close();
    }
  }

  private static TunableModel model(String task, PreferenceConfig preference, PeftConfig peft) {
    return TunableModel.load(
        Models.fixture("llama-gqa"),
        new TaskConfig(task, List.of(), "auto", 32, preference),
        peft,
        ComputeDevice.cpu());
  }

  /** {@code init} is "true" for no effect at the start, "false" for an effect. */
  private static LoraConfig lora(String init, double dropout) {
    return new LoraConfig(
        4,
        8,
        dropout,
        TargetModules.fromConfig(TargetModules.ALL_LINEAR),
        List.of(),
        false,
        init,
        Map.of(),
        Map.of(),
        List.of(),
        List.of());
  }

  /** Completions of low token numbers are liked, of high ones not; each is a text of its own. */
  private static ListExamples examples(String task, int count, long seed) {
    ListExamples examples = new ListExamples();
    Philox random = Philox.of(seed, "preferences");
    int[][] low = new int[count][];
    int[][] high = new int[count][];
    for (int i = 0; i < count; i++) {
      low[i] = completion(random.child(2 * i), 5);
      high[i] = completion(random.child(2 * i + 1), 85);
    }
    for (int i = 0; i < count; i++) {
      int[] prompt = {1, 20 + i % 100, 30 + i % 7};
      int next = (i + 1) % count;
      if (!task.equals("kto")) {
        examples.addPreference(joined(prompt, low[i]), joined(prompt, high[i]), prompt.length);
      } else if (i % 2 == 0) {
        examples.addJudged(joined(prompt, low[i]), joined(prompt, high[next]), prompt.length, 1);
      } else {
        examples.addJudged(joined(prompt, high[i]), joined(prompt, low[next]), prompt.length, 0);
      }
    }
    return examples;
  }

  private static int[] completion(Philox random, int from) {
    int[] tokens = new int[3 + (int) (random.doubleAt(0) * 4)];
    for (int t = 0; t < tokens.length; t++) {
      tokens[t] = from + (int) (random.doubleAt(t + 1) * 3);
    }
    return tokens;
  }

  private static int[] joined(int[] prompt, int[] completion) {
    int[] all = new int[prompt.length + completion.length];
    System.arraycopy(prompt, 0, all, 0, prompt.length);
    System.arraycopy(completion, 0, all, prompt.length, completion.length);
    return all;
  }

  @ParameterizedTest
  @CsvSource({"dpo, 0.5", "ipo, 0.5", "orpo, -1", "kto, 0.5"})
  void learnsWhatIsPreferred(String task, double before) {
    try (TunableModel model = model(task, PreferenceConfig.defaults(), lora("true", 0))) {
      LocalTrainer trainer = new LocalTrainer(model, CONFIG);
      ParameterVector start = model.initialParameters(5);
      ListExamples heldOut = examples(task, 40, 2);
      Evaluation untrained = trainer.evaluate(start, heldOut);
      if (before >= 0) {
        assertThat(untrained.accuracy()).as("a tie counts half").isEqualTo(before);
        assertThat(untrained.metrics().get("reward_margin")).isZero();
      }
      ParameterVector trained =
          trainer.train(start, examples(task, 60, 1), LocalPlan.alone(3)).parameters();
      Evaluation after = trainer.evaluate(trained, heldOut);
      assertThat(after.items()).isEqualTo(40);
      assertThat(after.accuracy()).isGreaterThan(0.9);
      assertThat(after.loss()).isLessThan(untrained.loss());
      assertThat(after.metrics().get("reward_margin"))
          .isGreaterThan(0)
          .isGreaterThan(untrained.metrics().getOrDefault("reward_margin", 0.0));
    }
  }

  @Test
  void anUntrainedAdapterIsTheReference() {
    Evaluation untrained = evaluated(dpo, dpo.initialParameters(5), examples("dpo", 20, 1));
    assertThat(untrained.loss()).isEqualTo(LOG_TWO, within(1e-6));
  }

  private static Evaluation evaluated(
      TunableModel model, ParameterVector parameters, ListExamples examples) {
    return new LocalTrainer(model, CONFIG).evaluate(parameters, examples);
  }

  @Test
  void theReferenceOfAnAdapterThatIsTrainedFurtherIsACopyOfIt() {
    TunableModel tuned = dpo.withPeft(lora("false", 0));
    ParameterVector start = tuned.initialParameters(7);
    ListExamples examples = examples("dpo", 20, 1);
    AdapterStack copy = AdapterStack.NONE.with("sft", tuned, start);
    LocalTrainer againstBase = new LocalTrainer(tuned, CONFIG);
    assertThat(againstBase.evaluate(start, examples).loss()).isNotCloseTo(LOG_TWO, within(1e-3));
    LocalTrainer againstCopy = againstBase.withReference(copy);
    assertThat(againstCopy.evaluate(start, examples).loss()).isEqualTo(LOG_TWO, within(1e-6));
    assertThat(againstCopy.evaluate(start, examples).accuracy()).isEqualTo(0.5);
    assertThat(againstCopy.train(start, examples, LocalPlan.alone(1)).losses().get(0))
        .isEqualTo(LOG_TWO, within(1e-5));

    TunableModel onTop = dpo.withAdapters(copy);
    assertThat(evaluated(onTop, onTop.initialParameters(5), examples).loss())
        .as("a new adapter on a frozen one")
        .isEqualTo(LOG_TWO, within(1e-6));
  }

  @ParameterizedTest
  @CsvSource({
    "dpo, auto",
    "dpo, sigmoid_norm",
    "dpo, robust",
    "dpo, hinge",
    "ipo, auto",
    "ipo, ipo_sum",
    "orpo, auto",
    "kto, auto"
  })
  void gradientIsThatOfFiniteDifferences(String task, String loss) {
    PreferenceConfig preference = PreferenceConfig.defaults().withLossType(loss).withBeta(0.3);
    ListExamples examples = new ListExamples();
    ListExamples drawn = examples("dpo", 5, 4);
    for (int i = 0; i < drawn.size(); i++) {
      if (task.equals("kto")) {
        // Of pairs that count, the estimate would move with the parameters; it is a constant.
        examples.addJudged(drawn.tokens(i), drawn.tokens(i), 3, i % 2);
      } else {
        examples.addPreference(drawn.tokens(i), drawn.pair(i), 3);
      }
    }
    try (TunableModel model = model(task, preference, lora("false", 0))) {
      float[] start = model.initialParameters(5).toArray();
      float[] gradient = new float[start.length];
      loss(model, start, examples, gradient);
      Philox random = Philox.of(4, "directions");
      for (int trial = 0; trial < 4; trial++) {
        float[] direction = random.child(trial).gaussian(start.length, 1);
        double norm = 0;
        double expected = 0;
        for (int i = 0; i < start.length; i++) {
          norm += (double) direction[i] * direction[i];
          expected += (double) direction[i] * gradient[i];
        }
        norm = Math.sqrt(norm);
        double epsilon = 0.01;
        float[] up = new float[start.length];
        float[] down = new float[start.length];
        for (int i = 0; i < start.length; i++) {
          float step = (float) (epsilon / norm * direction[i]);
          up[i] = start[i] + step;
          down[i] = start[i] - step;
        }
        double change =
            loss(model, up, examples, new float[start.length])
                - loss(model, down, examples, new float[start.length]);
        assertThat(change / (2 * epsilon))
            .as("direction %d", trial)
            .isCloseTo(expected / norm, within(5e-3 * Math.max(0.1, Math.abs(expected / norm))));
      }
    }
  }

  private static double loss(
      TunableModel model, float[] at, ListExamples examples, float[] gradient) {
    return new LocalTrainer(model, CONFIG)
        .loss(at, examples, new int[] {0, 1, 2, 3, 4}, model::forward, gradient);
  }

  @Test
  void theReferenceIsAskedOnceForEachExample() {
    AtomicInteger asked = new AtomicInteger();
    ListExamples examples = examples("dpo", 6, 1);
    dpo.device().bindThread();
    try (NDManager manager = dpo.device().newManager()) {
      BatchForward base = dpo.forward(manager, AdapterStack.NONE);
      BatchForward counted =
          (step, views, batch, context) -> {
            asked.addAndGet(batch.size());
            return base.outputs(step, views, batch, context);
          };
      BatchForward scores =
          dpo.task().kind().objective(dpo.task()).judged(() -> counted).apply(base);
      for (int[] indices : List.of(new int[] {0, 1, 2}, new int[] {3, 4, 5}, new int[] {5, 0, 3})) {
        ExampleBatch batch = dpo.batch(examples, indices, true);
        float[] found =
            scores
                .outputs(manager, Map.of(), batch, TuningContext.inference(manager, batch.tokens()))
                .all()
                .toFloatArray();
        for (int i = 0; i < 6; i++) {
          assertThat(found[i]).as("score %d", i).isEqualTo(found[6 + i], within(1e-4f));
        }
      }
    }
    assertThat(asked).hasValue(6);
  }

  @ParameterizedTest
  @ValueSource(strings = {"PROMPT_TUNING", "PREFIX_TUNING"})
  void otherMethodsLearnToo(String method) {
    PeftConfig config = PeftMethods.named(method).defaults();
    TunableModel model = dpo.withPeft(config);
    LocalTrainer trainer = new LocalTrainer(model, CONFIG);
    ParameterVector start = model.initialParameters(5);
    ListExamples examples = examples("dpo", 24, 1);
    double before = trainer.evaluate(start, examples).loss();
    ParameterVector trained = trainer.train(start, examples, LocalPlan.alone(3)).parameters();
    assertThat(trainer.evaluate(trained, examples).loss()).isLessThan(before);
  }

  @Test
  void dropoutIsRefused() {
    assertThatThrownBy(() -> dpo.withPeft(lora("true", 0.1)))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("lora_dropout")
        .hasMessageContaining("0.1");
  }

  @ParameterizedTest
  @CsvSource({
    "bert-masked-lm, dpo, dpo needs a decoder",
    "bert-model, dpo, dpo needs a decoder",
    "bart, dpo, dpo needs a decoder",
    "bert-masked-lm, text-generation, text-generation needs a decoder",
    "bart, text-generation, text-generation needs a decoder",
    "llama-gqa, text2text-generation, needs an encoder with a decoder"
  })
  void modelsThatCannotPredictTheseWordsAreRefused(String fixture, String task, String said) {
    assertThatThrownBy(
            () ->
                TunableModel.load(
                    Models.fixture(fixture),
                    new TaskConfig(task, List.of(), "auto", 16),
                    lora("true", 0),
                    ComputeDevice.cpu()))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining(said);
  }

  private static double activations(TunableModel model) {
    return TrainingMemory.activations(model, 64, false).orElseThrow();
  }

  @Test
  void memoryOfATrainingIsThatOfBothCompletions() {
    try (TunableModel plain =
        model("text-generation", PreferenceConfig.defaults(), lora("true", 0))) {
      assertThat(activations(dpo)).isBetween(1.5 * activations(plain), 2.5 * activations(plain));
    }
  }
}
