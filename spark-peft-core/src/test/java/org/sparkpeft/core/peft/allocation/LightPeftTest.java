package org.sparkpeft.core.peft.allocation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.LayerPaths;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.RoundDecision;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.vector.ParameterVector;

class LightPeftTest {
  private static LightPeft.Config config(int steps, double penalty, double modules, double ranks) {
    return new LightPeft.Config(
        4,
        8,
        0,
        steps,
        penalty,
        1 / 3.0,
        1 / 3.0,
        modules,
        ranks,
        TargetModules.of("q", "v", "o"),
        List.of(),
        List.of(),
        List.of());
  }

  /** One layer of 4 heads of size 2 and 12 neurons; the query has the most to learn. */
  private static TinyProblem problem() {
    return new TinyProblem(5)
        .layer("q", 8, 8, 1)
        .layer("v", 8, 8, 0.01)
        .layer("o", 8, 8, 0.01)
        .layer("down", 12, 8, 0.01);
  }

  private static AttachedMethod attach(LightPeft.Config config, TinyProblem problem) {
    LayerPaths layer = new LayerPaths("q", "k", "v", "o", "n", "up", "down", "n2");
    return new LightPeft()
        .attach(
            config,
            new ModuleTree(
                problem.tree().all(),
                new ModuleTree.Structure(List.of(layer), 8, 4, 8, "words", "")));
  }

  @Test
  void rankImportanceOfTheCard() {
    float[] importance =
        LightPeft.rankImportance(
            new float[] {1, -1, 2, 0},
            new float[] {.5f, .5f, .1f, 3},
            new float[] {1, 0, 1, 2},
            new float[] {.2f, 1, -.2f, .1f},
            2);
    assertThat((double) importance[0]).isCloseTo(0, within(1e-7));
    assertThat((double) importance[1]).isCloseTo(0.2, within(1e-7));
  }

  @Test
  void keepsWhatIsAboveTheQuantileAndAtLeastOne() {
    float[] values = {.4f, -.9f, .1f, .3f};
    assertThat(LightPeft.quantile(values, 1 / 3.0)).isCloseTo(.1, within(1e-7));
    assertThat(LightPeft.quantile(values, 0.5)).isCloseTo(.2, within(1e-7));
    assertThat(LightPeft.above(values, LightPeft.quantile(values, 1 / 3.0)))
        .as("strictly, and by signed values")
        .containsExactly(1, 0, 0, 1);
    assertThat(LightPeft.above(new float[] {1, 1}, 1)).containsExactly(1, 0);
  }

  @Test
  void prunesAfterEstimationAndFolds() {
    TinyProblem problem = problem();
    AttachedMethod method = attach(config(20, 1e-4, 0.5, 0.5), problem);
    MethodState state = method.initialState(1, problem.weights());
    ParameterVector start = problem.start(method, state);
    assertThat(problem.outputs(method, state, start))
        .containsExactly(problem.plainOutputs(Map.of()));
    assertThat(start.size()).isEqualTo(3 * 4 * 16 + 4 + 12);
    assertThat(method.role("o.head_mask").decayed()).isFalse();
    TinyProblem.Trained trained =
        problem.train(method, state, start, new TrainingSpan(60, 0, 1, true), 0.02, 0);
    MethodState pruned = trained.state();
    assertThat(pruned.integers("estimating")).containsExactly(0);
    assertThat(Arrays.stream(pruned.integers("o.head_mask.kept")).sum()).isEqualTo(2);
    assertThat(Arrays.stream(pruned.integers("down.neuron_mask.kept")).sum()).isEqualTo(8);
    int[] ranks =
        List.of("q", "v", "o").stream()
            .mapToInt(path -> Arrays.stream(pruned.integers(path + ".ranks.kept")).sum())
            .toArray();
    assertThat(ranks[0]).as("the module with most to learn stays").isEqualTo(2);
    assertThat(ranks[1] + ranks[2]).isZero();
    assertThat(pruned.floats("q.ranks.gain")).containsOnly(0, 2);
    double apart =
        TinyProblem.distance(
            problem.plainOutputs(method.fuse(trained.parameters(), pruned, problem.weights())),
            problem.outputs(method, pruned, trained.parameters()));
    assertThat(apart).isLessThan(1e-5);
    TinyProblem.Trained half =
        problem.train(method, state, start, new TrainingSpan(10, 0, 0.1, false), 0.02, 0);
    assertThat(
            TinyProblem.distance(
                problem.plainOutputs(method.fuse(half.parameters(), state, problem.weights())),
                problem.outputs(method, state, half.parameters())))
        .as("masks in training fold too")
        .isLessThan(1e-5);
    TinyProblem.Trained more =
        problem.train(
            method, pruned, trained.parameters(), new TrainingSpan(5, 0.5, 0.6, false), 0.02, 99);
    assertThat(more.parameters().tensor("o.head_mask"))
        .as("fixed masks are trained no more")
        .containsExactly(trained.parameters().tensor("o.head_mask"));
    assertThat(more.report()).isEmpty();
  }

  @Test
  void masksAreTrainedAndPenalised() {
    TinyProblem problem = problem();
    MethodState state = attach(config(20, 0, 0.5, 0.5), problem).initialState(1, problem.weights());
    TrainingSpan span = new TrainingSpan(10, 0, 0.1, false);
    AttachedMethod free = attach(config(20, 0, 0.5, 0.5), problem);
    AttachedMethod strict = attach(config(20, 1, 0.5, 0.5), problem);
    ParameterVector start = problem.start(free, state);
    TinyProblem.Trained a = problem.train(free, state, start, span, 0.02, 0);
    TinyProblem.Trained b = problem.train(strict, state, start, span, 0.02, 0);
    assertThat(b.losses().get(0) - a.losses().get(0))
        .as("4 heads and 12 neurons at 1")
        .isCloseTo(16, within(1e-4));
    assertThat(b.parameters().tensor("o.head_mask")[0]).isLessThan(0.9f);
    assertThat(a.parameters().tensor("o.head_mask")).isNotEqualTo(start.tensor("o.head_mask"));
  }

  @Test
  void importanceIsTheRatioOfNorms() {
    TinyProblem problem = new TinyProblem(5).layer("q", 8, 8, 0).layer("o", 8, 8, 0);
    AttachedMethod method = attach(config(1, 0, 0.5, 0.5), problem);
    MethodState state = method.initialState(1, problem.weights());
    ParameterVector start = problem.start(method, state);
    float[] values = start.toArray();
    int a = start.layout().entry("q.lora_A.weight").offset();
    int b = start.layout().entry("q.lora_B.weight").offset();
    // With s = 2 the change is W itself, on the first 4 of 8 inputs.
    float[] weight = problem.weights().tensor("q.weight");
    Arrays.fill(values, a, a + 32, 0);
    for (int i = 0; i < 4; i++) {
      values[a + i * 8 + i] = 1;
      for (int o = 0; o < 8; o++) {
        values[b + o * 4 + i] = weight[o * 8 + i] / 2;
      }
    }
    TinyProblem.Trained trained =
        problem.train(
            method,
            state,
            ParameterVector.wrap(start.layout(), values),
            new TrainingSpan(1, 0, 0.1, false),
            0,
            0);
    assertThat(TinyProblem.named(trained.report(), "q.ratio")[0])
        .as("about the root of a half")
        .isBetween(0.5f, 1f);
    assertThat(trained.report().get("o.ratio")).containsExactly(0);
  }

  @Test
  void theDriverPrunesWhenThePhaseEnds() {
    TinyProblem problem = problem();
    AttachedMethod method = attach(config(15, 1e-4, 0.5, 0.5), problem);
    MethodState state = method.initialState(1, problem.weights());
    ParameterVector server = problem.start(method, state);
    for (int round = 1; round <= 2; round++) {
      TrainingSpan span = new TrainingSpan(10, (round - 1) / 4.0, round / 4.0, false);
      TinyProblem.Trained one = problem.train(method, state, server, span, 0.02, 1000L * round);
      TinyProblem.Trained two = problem.train(method, state, server, span, 0.02, 2000L * round);
      assertThat(one.state()).isEqualTo(state);
      float[] mean = one.parameters().toArray();
      for (int i = 0; i < mean.length; i++) {
        mean[i] = 0.25f * mean[i] + 0.75f * two.parameters().get(i);
      }
      server = ParameterVector.wrap(server.layout(), mean);
      MethodState decided =
          method
              .decide(
                  state,
                  new RoundDecision.Input(
                      round, 4, AdaLoraTest.sum(one.report(), 0.25f, two.report(), 0.75f), server))
              .state();
      assertThat(decided.equals(state)).as("step 10, then 20 of 40").isEqualTo(round == 1);
      state = decided;
    }
    float[] masks = server.tensor("o.head_mask");
    assertThat(state.integers("o.head_mask.kept"))
        .isEqualTo(LightPeft.above(masks, LightPeft.quantile(masks, 1 / 3.0)));
    assertThat(Arrays.stream(state.integers("q.ranks.kept")).sum()).isPositive();
  }

  @Test
  void stateSurvivesTheFile() {
    TinyProblem problem = problem();
    AttachedMethod method = attach(config(10, 1e-4, 0.5, 0.5), problem);
    MethodState state = method.initialState(1, problem.weights());
    TinyProblem.Trained trained =
        problem.train(
            method, state, problem.start(method, state), new TrainingSpan(30, 0, 1, true), 0.02, 0);
    var file = method.save(trained.parameters(), trained.state());
    assertThat(method.load(new AdapterTensors("test", file), problem.weights()).state())
        .isEqualTo(trained.state());
    String name = AdapterTensors.PREFIX + "estimating";
    file.put(name, TensorData.ofLongs(name, List.of(1), new long[] {7}, DType.I32));
    assertThatThrownBy(() -> method.load(new AdapterTensors("test", file), problem.weights()))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("estimating holds 7");
  }

  @Test
  void refusesWhatItCannotPrune() {
    assertThatThrownBy(() -> config(0, -1, 1, 0.5))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("estimation_steps")
        .hasMessageContaining("mask_penalty")
        .hasMessageContaining("module_ratio: must be in [0, 1), got 1.0");
    assertThatThrownBy(() -> new LightPeft().attach(config(1, 0, 0, 0), problem().tree()))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("heads and neurons");
  }
}
