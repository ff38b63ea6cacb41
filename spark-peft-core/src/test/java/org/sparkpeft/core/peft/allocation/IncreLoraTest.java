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
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.RoundDecision;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

class IncreLoraTest {
  private static final List<String> LAYERS = List.of("small1", "large", "small2");

  private static IncreLora.Config config(
      int target, int add, int max, int top, int warmup, int interval, boolean advance) {
    return new IncreLora.Config(
        target,
        1,
        add,
        max,
        top,
        warmup,
        interval,
        0.85,
        0.85,
        0.1,
        advance,
        4,
        0,
        new TargetModules(List.of(), "all-linear"),
        List.of(),
        List.of(),
        List.of());
  }

  private static TinyProblem planted() {
    return new TinyProblem(5)
        .layer("small1", 8, 6, 0.01)
        .layer("large", 8, 6, 1)
        .layer("small2", 8, 6, 0.01);
  }

  private static int rank(MethodState state, String path) {
    return state.integers(path + ".rank")[0];
  }

  private static float[] row(ParameterVector parameters, String path, int i) {
    return Arrays.copyOfRange(parameters.tensor(path + ".lora_A"), 8 * i, 8 * i + 8);
  }

  @Test
  void sensitivityOfTheCard() {
    assertThat(
            (double)
                IncreLora.sensitivity(new float[] {1, -2, .5f, 0}, new float[] {.1f, .2f, -.4f, 1}))
        .isCloseTo(0.35, within(1e-6));
  }

  @Test
  void growthRescalesWhatThereIs() {
    ModuleTree tree = new ModuleTree(List.of(ModuleSpec.linear("m", 2, 2)));
    IncreLora.Config config =
        new IncreLora.Config(
            2,
            1,
            1,
            2,
            1,
            0,
            1,
            0.85,
            0.85,
            0,
            true,
            16,
            0,
            TargetModules.of("m"),
            List.of(),
            List.of(),
            List.of());
    AttachedMethod method = new IncreLora().attach(config, tree);
    MethodState state = method.initialState(1, name -> new float[4]);
    assertThat((double) state.floats("m.gain")[0]).isCloseTo(15.99984, within(1e-5));
    ParameterVector values = ParameterVector.zeros(ParameterLayout.of(method.shapes()));
    RoundDecision.Output grown =
        method.decide(
            state,
            new RoundDecision.Input(
                1,
                1,
                Map.of("m", new float[] {1}, Ranking.TOTAL_UPDATES, new float[] {1}),
                values));
    assertThat((double) grown.state().floats("m.gain")[0]).isCloseTo(7.99996, within(1e-5));
    assertThat(grown.state().integers("growing")).containsExactly(0);
  }

  @Test
  void theImportantModuleGetsTheRanks() {
    TinyProblem problem = planted();
    AttachedMethod method =
        new IncreLora().attach(config(2, 1, 4, 1, 10, 10, true), problem.tree());
    MethodState state = method.initialState(1, problem.weights());
    ParameterVector start = problem.start(method, state);
    TinyProblem.Trained trained =
        problem.train(method, state, start, new TrainingSpan(80, 0, 1, true), 0.02, 0);
    assertThat(rank(trained.state(), "large")).isEqualTo(4);
    assertThat(rank(trained.state(), "small1")).isEqualTo(1);
    assertThat(trained.state().integers("growing")).as("3 x 2 reached").containsExactly(0);
    assertThat(trained.state().integers("large.birth"))
        .as("reserves learn from the start or the growth before; then they count")
        .containsExactly(0, 0, 20, 30, 0, 20, 30, 40);
    assertThat(trained.losses().get(79)).isLessThan(0.8 * trained.losses().get(0));
    assertThat(row(trained.parameters(), "small1", 2))
        .as("what is beyond the reserve waits as it was drawn")
        .containsExactly(row(start, "small1", 2));
    assertThat(row(trained.parameters(), "small1", 1)).isNotEqualTo(row(start, "small1", 1));
    float[] e = trained.parameters().tensor("small1.lora_E");
    assertThat(Arrays.copyOfRange(e, 1, 4)).containsExactly(1e-5f, 1e-5f, 1e-5f);
    assertThat(
            TinyProblem.distance(
                problem.plainOutputs(
                    method.fuse(trained.parameters(), trained.state(), problem.weights())),
                problem.outputs(method, trained.state(), trained.parameters())))
        .isLessThan(1e-5);
  }

  @Test
  void withoutAdvanceLearningReservesWait() {
    TinyProblem problem = planted();
    AttachedMethod method =
        new IncreLora().attach(config(2, 1, 4, 1, 10, 10, false), problem.tree());
    MethodState state = method.initialState(1, problem.weights());
    ParameterVector start = problem.start(method, state);
    TinyProblem.Trained trained =
        problem.train(method, state, start, new TrainingSpan(35, 0, 1, true), 0.02, 0);
    assertThat(rank(trained.state(), "large")).isEqualTo(3);
    assertThat(row(trained.parameters(), "large", 3)).containsExactly(row(start, "large", 3));
    assertThat(row(trained.parameters(), "large", 1)).isNotEqualTo(row(start, "large", 1));
  }

  @Test
  void newComponentsWarmUp() {
    TinyProblem problem = planted();
    AttachedMethod method =
        new IncreLora().attach(config(2, 1, 4, 1, 10, 10, false), problem.tree());
    MethodState state = method.initialState(1, problem.weights());
    ParameterVector start = problem.start(method, state);
    TinyProblem.Trained grown =
        problem.train(method, state, start, new TrainingSpan(22, 0, 1, true), 0.02, 0);
    // Grown at step 20; Adam moves an entry by the rate, times (21 - 20 + 1) / 10 in step 21.
    assertThat((double) Math.abs(grown.parameters().tensor("large.lora_E")[1]))
        .isCloseTo(0.02 * 0.2, within(1e-4));
  }

  @Test
  void theDriverGrowsFromSummedScores() {
    TinyProblem problem = planted();
    AttachedMethod method =
        new IncreLora().attach(config(2, 1, 4, 1, 10, 20, true), problem.tree());
    MethodState state = method.initialState(1, problem.weights());
    ParameterVector server = problem.start(method, state);
    int[] ranks = new int[4];
    for (int round = 1; round <= 4; round++) {
      TrainingSpan span = new TrainingSpan(25, (round - 1) / 4.0, round / 4.0, false);
      TinyProblem.Trained one = problem.train(method, state, server, span, 0.02, 1000L * round);
      TinyProblem.Trained two = problem.train(method, state, server, span, 0.02, 2000L * round);
      assertThat(one.state()).isEqualTo(state);
      float[] mean = one.parameters().toArray();
      for (int i = 0; i < mean.length; i++) {
        mean[i] = 0.5f * mean[i] + 0.5f * two.parameters().get(i);
      }
      RoundDecision.Output decided =
          method.decide(
              state,
              new RoundDecision.Input(
                  round,
                  4,
                  AdaLoraTest.sum(one.report(), 0.5f, two.report(), 0.5f),
                  ParameterVector.wrap(server.layout(), mean)));
      state = decided.state();
      server = decided.parameters();
      ranks[round - 1] = rank(state, "large");
    }
    // Steps 20; 40; 60; 80 and 100 of 100: growth ends at a total of 6.
    assertThat(ranks).containsExactly(2, 3, 4, 4);
    assertThat(rank(state, "small1") + rank(state, "small2")).isEqualTo(2);
    assertThat(Ranking.events(75, 100, 20, 10)).isEqualTo(2);
    assertThat(Ranking.events(0, 20, 20, 20)).isZero();
  }

  @Test
  void growthNeverOvershootsByMoreThanOneAddition() {
    TinyProblem problem = planted();
    AttachedMethod method = new IncreLora().attach(config(2, 2, 8, 3, 0, 1, true), problem.tree());
    MethodState state = method.initialState(1, problem.weights());
    Map<String, float[]> equal =
        Map.of(
            "small1",
            new float[] {1},
            "large",
            new float[] {1},
            "small2",
            new float[] {1},
            Ranking.TOTAL_UPDATES,
            new float[] {10});
    MethodState grown =
        method
            .decide(state, new RoundDecision.Input(1, 1, equal, problem.start(method, state)))
            .state();
    assertThat(LAYERS.stream().mapToInt(path -> rank(grown, path)).toArray())
        .as("6 - 3 = 3 missing, in additions of 2")
        .containsExactly(3, 3, 1);
    assertThat(grown.integers("growing")).containsExactly(0);
    assertThat(grown.floats("small2.reserve")).containsOnly(0);
  }

  @Test
  void startsAsTheBase() {
    TinyProblem problem = planted();
    AttachedMethod method =
        new IncreLora().attach(config(2, 1, 4, 1, 10, 10, true), problem.tree());
    MethodState state = method.initialState(1, problem.weights());
    ParameterVector start = problem.start(method, state);
    assertThat(problem.outputs(method, state, start))
        .containsExactly(problem.plainOutputs(Map.of()));
    assertThat(start.size()).isEqualTo(3 * 4 * (8 + 6 + 1));
  }

  @Test
  void stateSurvivesTheFile() {
    TinyProblem problem = planted();
    AttachedMethod method =
        new IncreLora().attach(config(2, 1, 4, 1, 10, 10, true), problem.tree());
    MethodState state = method.initialState(1, problem.weights());
    TinyProblem.Trained trained =
        problem.train(
            method, state, problem.start(method, state), new TrainingSpan(45, 0, 1, true), 0.02, 0);
    var file = method.save(trained.parameters(), trained.state());
    AttachedMethod.Loaded loaded = method.load(new AdapterTensors("test", file), problem.weights());
    assertThat(loaded.state()).isEqualTo(trained.state());
    assertThat(loaded.values().get("large.lora_A"))
        .containsExactly(trained.parameters().tensor("large.lora_A"));
    String name = AdapterTensors.PREFIX + "large.rank";
    file.put(name, TensorData.ofLongs(name, List.of(1), new long[] {9}, DType.I32));
    assertThatThrownBy(() -> method.load(new AdapterTensors("test", file), problem.weights()))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("large.rank is 9")
        .hasMessageContaining("max_r = 4");
  }

  @Test
  void refusesRanksThatDoNotFit() {
    assertThatThrownBy(() -> config(0, 0, 9, 0, -1, 0, true))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("target_r: must be at least init_r = 1, got 0")
        .hasMessageContaining("add_r")
        .hasMessageContaining("top_h")
        .hasMessageContaining("init_warmup")
        .hasMessageContaining("incre_interval");
    assertThatThrownBy(() -> config(4, 1, 3, 1, 0, 1, true))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("max_r: must be target_r = 4..512");
  }
}
