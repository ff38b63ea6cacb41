package org.sparkpeft.tests.peft;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.assertj.core.api.Assertions.withinPercentage;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.model.TokenExamples;
import org.sparkpeft.core.peft.HeadOnlyConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.train.AdapterStack;
import org.sparkpeft.core.train.LocalPlan;
import org.sparkpeft.core.train.LocalResult;
import org.sparkpeft.core.train.LocalTrainer;
import org.sparkpeft.core.train.TaskConfig;
import org.sparkpeft.core.train.TrainConfig;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.merge.adapter.AdapterMerge;
import org.sparkpeft.tests.support.TinyBert;

/** Named adapters on one base: off, switched, weighted, on top of each other, at the same time. */
class AdapterStackTest {
  private static final TaskConfig TASK =
      new TaskConfig("text-classification", TinyBert.LABELS, "auto", 16);

  @TempDir static Path folder;
  private static TunableModel base;

  /** A LoRA and another of another rank, both with a head of their own. */
  private static TunableModel one;

  private static TunableModel two;
  private static ParameterVector oneValues;
  private static ParameterVector twoValues;
  private static AdapterStack both;

  @BeforeAll
  static void train() {
    ModelDirectory directory = ModelDirectory.open(TinyBert.write(folder.resolve("model")));
    base = TunableModel.load(directory, TASK, HeadOnlyConfig.defaults(), ComputeDevice.cpu());
    one = model("LORA", Map.of("r", 4, "lora_alpha", 8));
    two = model("LORA", Map.of("r", 2, "target_modules", List.of("query", "dense")));
    oneValues = trained(one, 1);
    twoValues = trained(two, 2);
    both = AdapterStack.NONE.with("one", one, oneValues).with("two", two, twoValues);
  }

  @AfterAll
  static void close() {
    base.close();
  }

  private static TunableModel model(String type, Map<String, Object> settings) {
    Map<String, Object> fields =
        new TreeMap<>(PeftMethods.writeConfig(PeftMethods.named(type).defaults()));
    fields.putAll(settings);
    return base.withPeft(PeftMethods.readConfig(fields)).started(3);
  }

  private static LocalTrainer trainer(TunableModel model, String optimizer, double rate) {
    return new LocalTrainer(
        model,
        new TrainConfig(
            1,
            0,
            24,
            1,
            optimizer,
            rate,
            0,
            0.9,
            0.999,
            1e-8,
            0,
            "constant",
            "federation",
            0,
            false));
  }

  private static LocalResult train(TunableModel model, ParameterVector start, int steps) {
    return train(model, start, steps, "adamw", 2e-2);
  }

  private static LocalResult train(
      TunableModel model, ParameterVector start, int steps, String optimizer, double rate) {
    int[] all = IntStream.range(0, EXAMPLES.size()).toArray();
    return trainer(model, optimizer, rate)
        .train(start, EXAMPLES, LocalPlan.alone(4), steps, update -> List.of(all));
  }

  private static ParameterVector trained(TunableModel model, long seed) {
    return train(model, model.initialParameters(seed), 6).parameters();
  }

  private static float[][] logits(AdapterStack stack) {
    return trainer(base, "sgd", 1).logits(stack, EXAMPLES);
  }

  private static float[][] logits(TunableModel model, ParameterVector values) {
    return trainer(model, "sgd", 1).logits(values, EXAMPLES);
  }

  private static double distance(float[][] a, float[][] b) {
    double worst = 0;
    for (int i = 0; i < a.length; i++) {
      for (int j = 0; j < a[i].length; j++) {
        worst = Math.max(worst, Math.abs((double) a[i][j] - b[i][j]));
      }
    }
    return worst;
  }

  @Test
  void offIsTheBaseToTheBit() {
    // A model that trains its head alone and has the base's own head in it is the base.
    float[] asLoaded = new float[base.layout().size()];
    TunableModel lora = model("LORA", Map.of());
    float[][] off = logits(AdapterStack.NONE);
    assertThat(off).isDeepEqualTo(logits(base, ParameterVector.wrap(base.layout(), asLoaded)));
    assertThat(off).isDeepEqualTo(logits(both.withWeight("one", 0).withWeight("two", 0)));
    assertThat(off).isDeepEqualTo(logits(both.only()));
    assertThat(off).isDeepEqualTo(trainer(lora, "sgd", 1).logits(AdapterStack.NONE, EXAMPLES));
    assertThat(distance(off, logits(both.only("one")))).isGreaterThan(1e-3);

    // Below a trained head too: an adapter that is out is no part of the computation.
    AdapterStack head = AdapterStack.NONE.with("head", base, headOf(oneValues));
    assertThat(logits(head)).isDeepEqualTo(logits(base, headOf(oneValues)));
    assertThat(logits(head.with("one", one, oneValues, 0))).isDeepEqualTo(logits(head));
  }

  @Test
  void oneAloneIsWhatItWasTrainedAs() {
    assertThat(logits(both.only("one"))).isDeepEqualTo(logits(one, oneValues));
    assertThat(logits(both.without("one"))).isDeepEqualTo(logits(two, twoValues));
    assertThat(trainer(base, "sgd", 1).evaluate(both.only("two"), EXAMPLES).metrics())
        .isEqualTo(trainer(two, "sgd", 1).evaluate(twoValues, EXAMPLES).metrics());
  }

  @Test
  void twoLorasOnTopOfEachOtherAreTheirCatMerge() {
    Path a = folder.resolve("a");
    Path b = folder.resolve("b");
    one.exportAdapter(oneValues, a);
    two.exportAdapter(twoValues, b);
    Path merged = folder.resolve("merged");
    new AdapterMerge("cat", 1, 0, 1)
        .merge(List.of(a, b), List.of(0.7, 0.4), merged, AdapterMerge.Heads.MEAN, false);
    // The merge has the mean of both heads; here the first one's is used with both.
    AdapterStack cat =
        AdapterStack.NONE
            .read("merged", base, AdapterDirectory.read(merged), 1)
            .with("head", base, headOf(oneValues))
            .withModulesOf("head");
    AdapterStack weighted =
        both.withWeight("one", 0.7f).withWeight("two", 0.4f).withModulesOf("one");
    float[][] stacked = logits(weighted);
    assertThat(distance(stacked, logits(cat))).isLessThan(1e-5);
    assertThat(distance(stacked, logits(both.withModulesOf("one")))).isGreaterThan(1e-3);

    float[][] read =
        logits(
            AdapterStack.NONE
                .read("x", base, AdapterDirectory.read(a), 0.7f)
                .read("y", base, AdapterDirectory.read(b), 0.4f)
                .withModulesOf("x"));
    assertThat(read).isDeepEqualTo(stacked);
  }

  /** The trained head alone, as an adapter of its own. */
  private static ParameterVector headOf(ParameterVector values) {
    float[] head = new float[base.layout().size()];
    for (ParameterLayout.Entry entry : base.layout().entries()) {
      System.arraycopy(values.tensor(entry.name()), 0, head, entry.offset(), entry.size());
    }
    return ParameterVector.wrap(base.layout(), head);
  }

  @Test
  void whoseHeadIsMeantMustBeSaid() {
    assertThatThrownBy(() -> logits(both))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("one and two both have their own")
        .hasMessageContaining("say whose");
    assertThat(distance(logits(both.withModulesOf("one")), logits(both.withModulesOf("two"))))
        .isGreaterThan(1e-4);
  }

  @ParameterizedTest
  @ValueSource(strings = {"PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING", "MAM", "DEPT"})
  void virtualTokensHaveNoWeight(String type) {
    TunableModel model = model(type, fewTokens(type));
    ParameterVector values = trained(model, 5);
    for (float weight : new float[] {0.5f, 0, -1}) {
      assertThatThrownBy(() -> AdapterStack.NONE.with("tokens", model, values, weight))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("tokens must be 1, is " + weight)
          .hasMessageContaining("leave the adapter out");
    }
    AdapterStack stack = AdapterStack.NONE.with("tokens", model, values);
    assertThat(logits(stack)).isDeepEqualTo(logits(model, values));
    float[][] under = logits(stack.with("one", one, oneValues).withModulesOf("tokens"));
    assertThat(distance(under, logits(stack))).isGreaterThan(1e-4);
  }

  private static Map<String, Object> fewTokens(String type) {
    return switch (type) {
      case "MAM" -> Map.of();
      case "PREFIX_TUNING" -> Map.of("num_virtual_tokens", 3);
      default -> Map.of("num_virtual_tokens", 4);
    };
  }

  @Test
  void tooManyVirtualTokensAreRefused() {
    TunableModel model = model("PREFIX_TUNING", Map.of("num_virtual_tokens", 9));
    ParameterVector values = model.initialParameters(1);
    AdapterStack stack = AdapterStack.NONE.with("a", model, values).with("b", model, values);
    assertThatThrownBy(() -> logits(stack.withModulesOf("a")))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("32 positions")
        .hasMessageContaining("18 virtual tokens");
  }

  @Test
  void mistakesAreNamed() {
    assertThatThrownBy(() -> both.with("one", one, oneValues)).hasMessageContaining("name one");
    assertThatThrownBy(() -> both.only("three")).hasMessageContaining("there are [one, two]");
    assertThatThrownBy(() -> both.only("one", "one")).hasMessageContaining("twice");
    assertThatThrownBy(() -> both.withWeight("one", Float.NaN)).hasMessageContaining("finite");
    assertThatThrownBy(() -> both.with("x", two, oneValues))
        .isInstanceOf(IllegalArgumentException.class);
    try (TunableModel other =
        TunableModel.load(base.directory(), TASK, HeadOnlyConfig.defaults(), ComputeDevice.cpu())) {
      assertThatThrownBy(() -> trainer(other, "sgd", 1).logits(both.only("one"), EXAMPLES))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("one is on another base");
    }
  }

  /** Each of the families that can be weighted: half of the way is between none and all of it. */
  @ParameterizedTest
  @ValueSource(strings = {"LORA", "IA3", "PFEIFFER", "BITFIT", "OFT", "VERA", "SSF", "MOLA"})
  void theWeightIsAContinuousStrength(String type) {
    TunableModel model = model(type, Map.of());
    AdapterStack stack = AdapterStack.NONE.with("it", model, trained(model, 8));
    float[][] whole = logits(stack);
    assertThat(distance(whole, logits(stack.withWeight("it", 0.9999f)))).isBetween(0.0, 1e-3);
    float[][] hardly = logits(stack.withWeight("it", 1e-6f));
    assertThat(distance(hardly, whole)).isGreaterThan(1e-3);
    assertThat(distance(hardly, logits(base, headOf(stack.values("it"))))).isLessThan(1e-4);
  }

  @Test
  void differentStacksAtTheSameTimeDoNotDisturbEachOther() throws Exception {
    TunableModel prefix = model("PREFIX_TUNING", Map.of("num_virtual_tokens", 3));
    List<AdapterStack> stacks =
        List.of(
            AdapterStack.NONE,
            both.only("one"),
            both.only("two").withWeight("two", -0.5f),
            both.withModulesOf("two"),
            AdapterStack.NONE.with("prefix", prefix, trained(prefix, 6)));
    List<float[][]> alone = stacks.stream().map(AdapterStackTest::logits).toList();
    ExecutorService threads = Executors.newFixedThreadPool(4);
    try {
      List<Future<float[][]>> together = new ArrayList<>();
      for (int i = 0; i < 60; i++) {
        AdapterStack stack = stacks.get(i % stacks.size());
        together.add(threads.submit(() -> logits(stack)));
      }
      for (int i = 0; i < together.size(); i++) {
        assertThat(together.get(i).get()).isDeepEqualTo(alone.get(i % stacks.size()));
      }
    } finally {
      threads.shutdownNow();
    }
  }

  /** The gradient flows through what lies below, however strong that is. */
  @ParameterizedTest
  @ValueSource(strings = {"LORA", "VERA", "PFEIFFER", "BITFIT", "SSF", "HRA"})
  void trainingAboveAWeightedAdapterHasTheLossesSlope(String type) {
    TunableModel below = model(type, Map.of());
    AdapterStack half =
        AdapterStack.NONE.with("below", below, trained(below, 7)).withWeight("below", 0.5f);
    TunableModel top = model("LORA", Map.of()).withAdapters(half);
    float[] start = train(top, top.initialParameters(2), 3).parameters().toArray();
    float[] after = step(top, start).parameters().toArray();
    double square = 0;
    for (int i = 0; i < start.length; i++) {
      after[i] = start[i] - after[i]; // the gradient
      square += (double) after[i] * after[i];
    }
    double slope = Math.sqrt(square);
    double length = 1e-2;
    double up = step(top, along(start, after, length / slope)).losses().get(0);
    double down = step(top, along(start, after, -length / slope)).losses().get(0);
    assertThat((up - down) / (2 * length)).isCloseTo(slope, withinPercentage(1));
  }

  private static LocalResult step(TunableModel model, float[] start) {
    return train(model, ParameterVector.wrap(model.layout(), start), 1, "sgd", 1);
  }

  private static float[] along(float[] start, float[] direction, double by) {
    float[] moved = start.clone();
    for (int i = 0; i < moved.length; i++) {
      moved[i] += (float) (by * direction[i]);
    }
    return moved;
  }

  @Test
  void onlyTheOneInTrainingLearns() {
    AdapterStack frozen = both.withWeight("one", 0.5f).withModulesOf("one");
    TunableModel top = model("LORA", Map.of("r", 3)).withAdapters(frozen);
    assertThat(top.layout()).isEqualTo(model("LORA", Map.of("r", 3)).layout());
    ParameterVector start = trained(top, 7);

    // One step of plain descent is the gradient: it must be that of the whole pile's loss.
    double rate = 1e-3;
    int[] all = IntStream.range(0, EXAMPLES.size()).toArray();
    ParameterVector stepped =
        trainer(top, "sgd", rate)
            .train(start, EXAMPLES, LocalPlan.alone(1), 1, update -> List.of(all))
            .parameters();
    double squared = Math.pow(stepped.minus(start).norm() / rate, 2);
    double slope = (loss(top, start) - loss(top, stepped)) / rate;
    assertThat(slope).isCloseTo(squared, within(0.02 * squared));
    assertThat(squared).isGreaterThan(1e-4);

    assertThat(frozen.values("one")).isEqualTo(oneValues);
    assertThat(logits(both.only("one"))).isDeepEqualTo(logits(one, oneValues));
    // Without what lies below, the same values are another model.
    assertThat(distance(logits(top, start), logits(top.withAdapters(AdapterStack.NONE), start)))
        .isGreaterThan(1e-3);
    assertThat(logits(frozen.with("top", top, start).withModulesOf("top")))
        .isDeepEqualTo(logits(top, start));
    assertThat(top.whyNotFused()).get().asString().contains("[one, two]");
  }

  private static double loss(TunableModel model, ParameterVector values) {
    return trainer(model, "sgd", 1).evaluate(values, EXAMPLES).metrics().get("loss");
  }

  @Test
  void aHeadOnTopOfFrozenAdaptersSeesThem() {
    TunableModel head = base.withAdapters(both.only("one"));
    ParameterVector values = trained(head, 2);
    ParameterVector elsewhere = trained(base, 2);
    assertThat(values).isNotEqualTo(elsewhere);
  }

  private static final TokenExamples EXAMPLES =
      new TokenExamples() {
        @Override
        public int size() {
          return 24;
        }

        @Override
        public int[] tokens(int index) {
          Philox random = Philox.of(1, "stack", index);
          int length = 4 + (int) (random.doubleAt(0) * 8);
          return IntStream.range(0, length)
              .map(i -> i == 2 ? 8 + index % 3 : 5 + (int) (random.doubleAt(i + 1) * 12))
              .toArray();
        }

        @Override
        public int[] pair(int index) {
          return new int[0];
        }

        @Override
        public int[] classes(int index) {
          return new int[] {index % 3};
        }

        @Override
        public float[] values(int index) {
          return new float[0];
        }
      };
}
