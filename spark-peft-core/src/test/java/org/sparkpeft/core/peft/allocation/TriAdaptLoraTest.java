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
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.RoundDecision;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.vector.ParameterVector;

class TriAdaptLoraTest {
  private static TriAdaptLora.Config config(
      int target, int add, int max, String growth, int warmup, int interval) {
    return new TriAdaptLora.Config(
        target,
        1,
        add,
        max,
        growth,
        warmup,
        interval,
        0.5,
        4,
        0,
        new TargetModules(List.of(), "all-linear"),
        List.of(),
        List.of(),
        List.of());
  }

  private static TinyProblem problem() {
    return new TinyProblem(5).layer("one", 8, 6, 0.5).layer("two", 8, 6, 0.5);
  }

  @Test
  void coreOfTheCard() {
    TriAdaptLora.Config config = config(2, 1, 2, "linear", 0, 1);
    float[] core =
        TriAdaptLora.core(config, 2, new float[] {.5f, 99, 1, 2}, new float[] {.25f, 3, 99, 4});
    assertThat(core).containsExactly(.75f, 3, 1, 6);
    assertThat((double) TriAdaptLora.importance(config, 2, core)).isCloseTo(3.411836, within(1e-6));
  }

  @Test
  void numberOfGrowingModulesOfTheCard() {
    assertThat(TriAdaptLora.growing(config(2, 1, 4, "linear", 100, 1), 72, 72, 600, 1100))
        .isEqualTo(36);
    TriAdaptLora.Config nonlinear = config(2, 1, 4, "nonlinear", 100, 1);
    assertThat(TriAdaptLora.growing(nonlinear, 72, 72, 600, 1100)).isEqualTo(8);
    assertThat(TriAdaptLora.growing(nonlinear, 72, 5, 600, 1100)).isEqualTo(5);
    assertThat(TriAdaptLora.growing(config(2, 1, 4, "linear", 100, 1), 72, 72, 101, 1100))
        .isEqualTo(1);
  }

  @Test
  void bestModulesGrowUpToTheTarget() {
    TriAdaptLora.Config config = config(3, 2, 5, "linear", 0, 1);
    int[] first =
        TriAdaptLora.grown(config, new int[] {1, 1, 1}, new float[] {.1f, .3f, .2f}, 5, 10);
    assertThat(first).as("3 of 6 missing, additions of 2").containsExactly(3, 3, 3);
    assertThat(TriAdaptLora.grown(config, new int[] {1, 1, 1}, new float[] {1, 3, 2}, 1, 10))
        .containsExactly(1, 3, 1);
    assertThat(TriAdaptLora.grown(config, new int[] {1, 5, 1}, new float[] {1, 3, 2}, 1, 10))
        .as("what is at max_r does not grow")
        .containsExactly(1, 5, 3);
    assertThat(TriAdaptLora.grown(config, first, new float[3], 9, 10)).isEqualTo(first);
  }

  private static int rank(MethodState state, String path) {
    return state.integers(path + ".rank")[0];
  }

  @Test
  void growsWhileItLearnsAndFolds() {
    TinyProblem problem = problem();
    AttachedMethod method =
        new TriAdaptLora().attach(config(3, 2, 5, "linear", 20, 15), problem.tree());
    MethodState state = method.initialState(1, problem.weights());
    ParameterVector start = problem.start(method, state);
    assertThat(problem.outputs(method, state, start))
        .containsExactly(problem.plainOutputs(Map.of()));
    TinyProblem.Trained trained =
        problem.train(method, state, start, new TrainingSpan(44, 0, 1, true), 0.03, 0);
    assertThat(rank(trained.state(), "one") + rank(trained.state(), "two")).isEqualTo(4);
    String grown = rank(trained.state(), "one") == 3 ? "one" : "two";
    String other = grown.equals("one") ? "two" : "one";
    float[] drawn = start.tensor(other + ".lora_A");
    float[] now = trained.parameters().tensor(other + ".lora_A");
    assertThat(Arrays.copyOfRange(now, 8, 40)).containsExactly(Arrays.copyOfRange(drawn, 8, 40));
    assertThat(Arrays.copyOfRange(now, 0, 8)).isNotEqualTo(Arrays.copyOfRange(drawn, 0, 8));
    float[] b = trained.parameters().tensor(grown + ".lora_B");
    assertThat(b[1]).as("a new block learns").isNotZero();
    assertThat(b[3]).as("the next one waits").isZero();
    TinyProblem.Trained all =
        problem.train(method, state, start, new TrainingSpan(100, 0, 1, true), 0.03, 0);
    assertThat(rank(all.state(), "one") + rank(all.state(), "two")).isEqualTo(6);
    assertThat(all.losses().get(99)).isLessThan(0.8 * all.losses().get(0));
    assertThat(
            TinyProblem.distance(
                problem.plainOutputs(method.fuse(all.parameters(), all.state(), problem.weights())),
                problem.outputs(method, all.state(), all.parameters())))
        .isLessThan(1e-5);
  }

  @Test
  void theDriverGrowsFromMeanScores() {
    TinyProblem problem = problem();
    AttachedMethod method =
        new TriAdaptLora().attach(config(2, 1, 3, "nonlinear", 10, 10), problem.tree());
    MethodState state = method.initialState(1, problem.weights());
    ParameterVector server = problem.start(method, state);
    TinyProblem.Trained client =
        problem.train(method, state, server, new TrainingSpan(10, 0, 0.25, false), 0.03, 0);
    assertThat(client.state()).isEqualTo(state);
    assertThat(client.report()).containsKeys("one", "two");
    assertThat(client.report().get("total_updates")).containsExactly(40);
    Map<String, float[]> reports =
        Map.of(
            "one", new float[] {.1f}, "two", new float[] {.2f}, "total_updates", new float[] {40});
    MethodState first =
        method.decide(state, new RoundDecision.Input(1, 4, reports, server)).state();
    assertThat(first).as("step 10 is not above the warm-up").isEqualTo(state);
    MethodState second =
        method.decide(state, new RoundDecision.Input(2, 4, reports, server)).state();
    assertThat(rank(second, "two")).isEqualTo(2);
    assertThat(rank(second, "one")).isEqualTo(1);
    assertThat((double) second.floats("two.gain")[1]).isCloseTo(4 / 2.00001, within(1e-6));
  }

  @Test
  void countsItsParameters() {
    TinyProblem problem = problem();
    TriAdaptLora.Config config = config(3, 2, 5, "linear", 20, 10);
    AttachedMethod method = new TriAdaptLora().attach(config, problem.tree());
    float[] ones = new float[25];
    Arrays.fill(ones, 1);
    int core = 0;
    for (float c : TriAdaptLora.core(config, 5, ones, ones)) {
      core += (int) c;
    }
    // Blocks of 1, 2 and 2 rows with 1, 3 and 5 columns, once below and once above the diagonal.
    assertThat(core).isEqualTo(2 * (1 + 2 * 3 + 2 * 5));
    MethodState state = method.initialState(1, problem.weights());
    int drawn = 0;
    for (String name : List.of("one.lora_C_row", "one.lora_C_col")) {
      for (float c : problem.start(method, state).tensor(name)) {
        drawn += c != 0 ? 1 : 0;
      }
    }
    assertThat(drawn).isEqualTo(core);
  }

  @Test
  void stateSurvivesTheFile() {
    TinyProblem problem = problem();
    AttachedMethod method =
        new TriAdaptLora().attach(config(3, 2, 5, "linear", 20, 10), problem.tree());
    MethodState state = method.initialState(1, problem.weights());
    TinyProblem.Trained trained =
        problem.train(
            method, state, problem.start(method, state), new TrainingSpan(35, 0, 1, true), 0.03, 0);
    var file = method.save(trained.parameters(), trained.state());
    assertThat(method.load(new AdapterTensors("test", file), problem.weights()).state())
        .isEqualTo(trained.state());
    String name = AdapterTensors.PREFIX + "one.rank";
    for (long wrong : new long[] {0, 2, 6}) {
      file.put(name, TensorData.ofLongs(name, List.of(1), new long[] {wrong}, DType.I32));
      assertThatThrownBy(() -> method.load(new AdapterTensors("test", file), problem.weights()))
          .isInstanceOf(FormatException.class)
          .hasMessageContaining("one.rank")
          .hasMessageContaining("" + wrong);
    }
  }

  @Test
  void refusesBadSettings() {
    assertThatThrownBy(() -> config(3, 0, 2, "cubic", 0, 1))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("add_r")
        .hasMessageContaining("max_r: must be target_r = 3")
        .hasMessageContaining("growth: must be linear or nonlinear, got cubic");
  }
}
