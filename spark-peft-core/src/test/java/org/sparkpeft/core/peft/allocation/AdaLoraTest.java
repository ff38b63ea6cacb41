package org.sparkpeft.core.peft.allocation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.RoundDecision;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

class AdaLoraTest {
  private static final StepObserver.OptimizerMoments NO_MOMENTS = (index, first, second, age) -> {};

  private static AdaLora.Config config(
      int target, int initial, int tinit, int tfinal, int deltaT, int total, double alpha) {
    return new AdaLora.Config(
        target,
        initial,
        tinit,
        tfinal,
        deltaT,
        0.85,
        0.85,
        0.5,
        total,
        alpha,
        0,
        new TargetModules(List.of(), "all-linear"),
        List.of(),
        List.of(),
        List.of());
  }

  private static AttachedMethod attach(AdaLora.Config config, ModuleTree tree) {
    return new AdaLora().attach(config, tree);
  }

  private static MethodState initial(AttachedMethod method) {
    return method.initialState(
        1,
        name -> {
          throw new AssertionError(name);
        });
  }

  @Test
  void budgetFallsAsACube() {
    AdaLora.Config config = config(1, 2, 10, 20, 1, 100, 16);
    Map<Integer, Integer> expected = new TreeMap<>();
    for (int[] pair :
        new int[][] {
          {0, 24}, {10, 24}, {11, 23}, {20, 21}, {45, 17}, {62, 16}, {80, 16}, {99, 16}
        }) {
      expected.put(pair[0], pair[1]);
    }
    expected.forEach(
        (step, budget) ->
            assertThat(AdaLora.budget(config, 24, 16, step, 100))
                .as("step " + step)
                .isEqualTo(budget));
  }

  /** One layer 2 to 2 with rank 2 and given values, stored as A, B, E. */
  private static final ModuleTree ONE = new ModuleTree(List.of(ModuleSpec.linear("m", 2, 2)));

  private static final float[] VALUES = {1, -1, .5f, .5f, 1, 0, 2, 1, .5f, -.2f};
  private static final float[] GRADIENT = {.2f, .1f, 0, .2f, .1f, .3f, .05f, .2f, .1f, .4f};

  @Test
  void firstScoresOfTheCard() {
    AttachedMethod method = attach(config(1, 2, 0, 0, 1, 0, 16), ONE);
    ParameterLayout layout = ParameterLayout.of(method.shapes());
    assertThat(layout.entries())
        .extracting(ParameterLayout.Entry::name)
        .containsExactly("m.lora_A", "m.lora_B", "m.lora_E");
    StepObserver client =
        method.observer(initial(method), new TrainingSpan(5, 0.2, 0.25, false), layout);
    float[] parameters = VALUES.clone();
    client.afterStep(
        new StepObserver.Update(0, layout, parameters, GRADIENT, Map.of(), 0.1, NO_MOMENTS));
    assertThat(parameters).as("a client masks nothing").containsExactly(VALUES);
    Map<String, float[]> report = client.report();
    double mean = (7.171875e-4 + 6.00525e-4) / 2;
    assertThat((double) TinyProblem.named(report, "m.lora_E")[0])
        .isCloseTo(7.171875e-4 / mean, within(1e-5));
    assertThat((double) TinyProblem.named(report, "m.lora_E")[1])
        .isCloseTo(6.00525e-4 / mean, within(1e-5));
    assertThat(report.get(Ranking.TOTAL_UPDATES)).containsExactly(100);

    Importance importance = new Importance(1, 0.85, 0.85);
    importance.add(0, 2);
    assertThat((double) importance.mean(0)).isCloseTo(0.3, within(1e-7));
    assertThat((double) importance.uncertainty(0)).isCloseTo(0.15 * 0.85 * 2, within(1e-7));
    assertThat((double) importance.score(0)).isCloseTo(0.019125 * 4, within(1e-7));
  }

  @Test
  void aloneTheObserverMasks() {
    AttachedMethod method = attach(config(1, 2, 0, 0, 1, 0, 16), ONE);
    ParameterLayout layout = ParameterLayout.of(method.shapes());
    StepObserver alone = method.observer(initial(method), new TrainingSpan(1, 0, 1, true), layout);
    float[] parameters = VALUES.clone();
    MethodState state =
        alone
            .afterStep(
                new StepObserver.Update(0, layout, parameters, GRADIENT, Map.of(), 0.1, NO_MOMENTS))
            .orElseThrow();
    assertThat(Arrays.copyOfRange(parameters, 8, 10)).containsExactly(.5f, 0);
    assertThat(method.savedFields(state))
        .containsEntry("rank_pattern", Map.of("m.lora_E", List.of(true, false)))
        .containsEntry("total_step", 1);
    assertThat(alone.report()).isEmpty();
  }

  @Test
  void penaltyOfTheCard() {
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      float a =
          LowRank.orthogonality(manager.create(new float[] {1, -1, .5f, .5f}, new Shape(2, 2)))
              .getFloat();
      float b =
          LowRank.orthogonality(
                  manager.create(new float[] {1, 0, 2, 1}, new Shape(2, 2)).transpose())
              .getFloat();
      assertThat((double) a).isCloseTo(1.118034, within(1e-6));
      assertThat((double) b).isCloseTo(4.898979, within(1e-6));
      assertThat(0.5 * (a + b) / 2).isCloseTo(1.504253, within(1e-6));
    }
  }

  @Test
  void deltaOfTheCardWhoseScaleDoesNotFollowTheRank() {
    AttachedMethod method = attach(config(1, 2, 0, 0, 1, 0, 16), ONE);
    ParameterVector parameters = ParameterVector.of(ParameterLayout.of(method.shapes()), VALUES);
    float[] delta =
        TinyProblem.named(
            method.fuse(parameters, initial(method), name -> new float[4]), "m.weight");
    double[] expected = {3.99998, -3.99998, 7.199964, -8.799956};
    for (int i = 0; i < 4; i++) {
      assertThat((double) delta[i]).isCloseTo(expected[i], within(1e-5));
    }
    AttachedMethod noAlpha = attach(config(1, 2, 0, 0, 1, 0, 0), ONE);
    assertThat(
            (double)
                TinyProblem.named(
                    noAlpha.fuse(parameters, initial(method), n -> new float[4]), "m.weight")[0])
        .as("without alpha the numerator is init_r")
        .isCloseTo(0.5, within(1e-5));
  }

  @Test
  void masksTheLowestScores() {
    boolean[] kept = Ranking.best(new float[] {.5f, .1f, .4f, .2f, .3f, .9f}, 4);
    assertThat(kept).containsExactly(true, false, true, false, true, true);
    assertThat(Ranking.best(new float[] {1, 1, 1}, 2))
        .as("of equals exactly as many as asked for")
        .containsExactly(true, true, false);
    assertThat(Ranking.best(new float[] {1, 2}, 2)).containsExactly(true, true);
  }

  private static TinyProblem planted() {
    return new TinyProblem(5)
        .layer("small1", 8, 6, 0.01)
        .layer("large", 8, 6, 1)
        .layer("small2", 8, 6, 0.01);
  }

  private static int rank(MethodState state, String path) {
    return Arrays.stream(state.integers(path + ".lora_E")).sum();
  }

  @Test
  void theImportantModuleGetsTheRanks() {
    TinyProblem problem = planted();
    AttachedMethod method = attach(config(2, 4, 5, 5, 5, 0, 4), problem.tree());
    MethodState state = initial(method);
    TinyProblem.Trained trained =
        problem.train(
            method, state, problem.start(method, state), new TrainingSpan(60, 0, 1, true), 0.02, 0);
    assertThat(rank(trained.state(), "large")).isEqualTo(4);
    assertThat(rank(trained.state(), "small1") + rank(trained.state(), "small2")).isEqualTo(2);
    for (String path : List.of("small1", "large", "small2")) {
      float[] e = trained.parameters().tensor(path + ".lora_E");
      int[] kept = trained.state().integers(path + ".lora_E");
      for (int i = 0; i < 4; i++) {
        assertThat(e[i] != 0).as(path + " " + i).isEqualTo(kept[i] == 1);
      }
    }
    assertThat(trained.losses().get(59)).isLessThan(0.8 * trained.losses().get(0));
    Map<String, float[]> fused =
        method.fuse(trained.parameters(), trained.state(), problem.weights());
    assertThat(
            TinyProblem.distance(
                problem.plainOutputs(fused),
                problem.outputs(method, trained.state(), trained.parameters())))
        .isLessThan(1e-5);
  }

  /** Two clients, four rounds; the driver alone decides. */
  @Test
  void theDriverDecidesFromSummedScores() {
    TinyProblem problem = planted();
    AttachedMethod method = attach(config(2, 4, 10, 10, 7, 0, 4), problem.tree());
    MethodState state = initial(method);
    ParameterVector server = problem.start(method, state);
    int rounds = 4;
    int[] alive = new int[rounds];
    for (int round = 1; round <= rounds; round++) {
      TrainingSpan span = new TrainingSpan(15, (round - 1) / 4.0, round / 4.0, false);
      TinyProblem.Trained one = problem.train(method, state, server, span, 0.02, 1000L * round);
      TinyProblem.Trained two = problem.train(method, state, server, span, 0.02, 2000L * round);
      assertThat(one.state()).as("clients decide nothing").isEqualTo(state);
      float[] mean = one.parameters().toArray();
      for (int i = 0; i < mean.length; i++) {
        mean[i] = 0.25f * mean[i] + 0.75f * two.parameters().get(i);
      }
      RoundDecision.Output decided =
          method.decide(
              state,
              new RoundDecision.Input(
                  round,
                  rounds,
                  sum(one.report(), 0.25f, two.report(), 0.75f),
                  ParameterVector.wrap(server.layout(), mean)));
      state = decided.state();
      server = decided.parameters();
      alive[round - 1] = rank(state, "small1") + rank(state, "large") + rank(state, "small2");
      int nonZero = 0;
      for (String path : List.of("small1", "large", "small2")) {
        for (float e : server.tensor(path + ".lora_E")) {
          nonZero += e != 0 ? 1 : 0;
        }
      }
      assertThat(nonZero).isEqualTo(alive[round - 1]);
    }
    // Steps 15, 30, 45, 60 of 60, budgets 12 to 6 between steps 10 and 50.
    assertThat(alive).containsExactly(10, 6, 6, 6);
    assertThat(rank(state, "large")).isEqualTo(4);
  }

  static Map<String, float[]> sum(
      Map<String, float[]> a, float shareA, Map<String, float[]> b, float shareB) {
    assertThat(a.keySet()).isEqualTo(b.keySet());
    Map<String, float[]> sum = new HashMap<>();
    a.forEach(
        (name, values) -> {
          float[] total = values.clone();
          for (int i = 0; i < total.length; i++) {
            total[i] = shareA * total[i] + shareB * TinyProblem.named(b, name)[i];
          }
          sum.put(name, total);
        });
    return sum;
  }

  @Test
  void clientsKeepFixedRanks() {
    TinyProblem problem = planted();
    AttachedMethod method = attach(config(2, 4, 0, 0, 1, 0, 4), problem.tree());
    MethodState state = initial(method);
    TinyProblem.Trained all =
        problem.train(
            method, state, problem.start(method, state), new TrainingSpan(20, 0, 1, true), 0.02, 0);
    TinyProblem.Trained more =
        problem.train(
            method, all.state(), all.parameters(), new TrainingSpan(5, 0.5, 0.6, false), 0.02, 99);
    for (String path : List.of("small1", "large", "small2")) {
      int[] kept = all.state().integers(path + ".lora_E");
      float[] e = more.parameters().tensor(path + ".lora_E");
      for (int i = 0; i < 4; i++) {
        assertThat(e[i] != 0).isEqualTo(kept[i] == 1);
      }
    }
    RoundDecision.Output same =
        method.decide(
            all.state(), new RoundDecision.Input(6, 10, more.report(), more.parameters()));
    assertThat(same.state()).isEqualTo(all.state());
  }

  @Test
  void startsAsTheBaseAndCountsItsParameters() {
    TinyProblem problem = planted();
    AttachedMethod method = attach(config(2, 4, 0, 0, 1, 0, 4), problem.tree());
    MethodState state = initial(method);
    ParameterVector start = problem.start(method, state);
    assertThat(problem.outputs(method, state, start))
        .containsExactly(problem.plainOutputs(Map.of()));
    assertThat(start.size()).isEqualTo(3 * 4 * (8 + 6 + 1));
    assertThat(problem.start(method, state)).isEqualTo(start);
  }

  @Test
  void fileHoldsKeptRowsOnly() {
    TinyProblem problem = planted();
    AttachedMethod method = attach(config(1, 2, 0, 0, 1, 0, 4), problem.tree());
    MethodState state = initial(method);
    TinyProblem.Trained trained =
        problem.train(
            method, state, problem.start(method, state), new TrainingSpan(20, 0, 1, true), 0.05, 0);
    var file = method.save(trained.parameters(), trained.state());
    int stored = file.values().stream().mapToInt(TensorData::elements).sum();
    assertThat(stored).isEqualTo(3 * (8 + 6 + 1));
    AttachedMethod.Loaded loaded =
        method.load(
            new AdapterTensors("test", file, new TreeMap<>(method.savedFields(trained.state()))),
            problem.weights());
    float[] flat = new float[trained.parameters().size()];
    for (ParameterLayout.Entry entry : trained.parameters().layout().entries()) {
      System.arraycopy(loaded.values().get(entry.name()), 0, flat, entry.offset(), entry.size());
    }
    ParameterVector read = ParameterVector.wrap(trained.parameters().layout(), flat);
    assertThat(problem.outputs(method, loaded.state(), read))
        .containsExactly(problem.outputs(method, trained.state(), trained.parameters()));
    assertThat(rank(loaded.state(), "large")).isEqualTo(rank(trained.state(), "large"));
    for (Object wrong : List.of("x", Map.of(), Map.of("small1.lora_E", List.of(true)))) {
      assertThatThrownBy(
              () ->
                  method.load(
                      new AdapterTensors("test", file, Map.of("rank_pattern", wrong)),
                      problem.weights()))
          .isInstanceOf(FormatException.class)
          .hasMessageContaining("rank_pattern");
    }
  }

  @Test
  void refusesSchedulesWithoutRoom() {
    assertThatThrownBy(() -> config(9, 8, 10, 20, 0, 30, 8))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("target_r: must be 1..init_r = 8")
        .hasMessageContaining("deltaT")
        .hasMessageContaining("total_step: must exceed tinit + tfinal = 30");
    AttachedMethod method = attach(config(1, 2, 10, 20, 1, 0, 8), ONE);
    assertThatThrownBy(
            () ->
                method.observer(
                    initial(method),
                    new TrainingSpan(30, 0, 1, true),
                    ParameterLayout.of(method.shapes())))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("training of 30 steps");
    assertThatThrownBy(
            () ->
                PeftMethods.readConfig(
                    Map.of(
                        "peft_type", "ADALORA", "target_modules", List.of("q"), "use_dora", true)))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("use_dora");
  }
}
