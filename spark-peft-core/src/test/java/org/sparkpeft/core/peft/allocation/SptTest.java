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
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.RoundDecision;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TensorRole;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.vector.ParameterVector;

class SptTest {
  private static Spt.Config config(int r, String type, int budget, double ratio) {
    return new Spt.Config(
        r,
        type,
        budget,
        ratio,
        5,
        16,
        0,
        new TargetModules(List.of(), "all-linear"),
        List.of(),
        List.of(),
        List.of());
  }

  /** Sensitive all over, hardly at all, and in between. */
  private static TinyProblem problem() {
    return new TinyProblem(5)
        .layer("large", 8, 6, 1)
        .layer("middle", 8, 6, 0.2)
        .layer("small", 8, 6, 0.05);
  }

  @Test
  void picksTheMostSensitiveEntriesOfTheCard() {
    Sensitivity one =
        new Sensitivity(List.of(new Sensitivity.Tensor(new float[] {9, 1, 1, 1, 8, 1}, 1000, 10)));
    assertThat(one.allocate(2).get(0).entries()).containsExactly(0, 4);
    assertThat(one.allocate(2).get(0).whole()).isFalse();
    assertThat(one.allocate(3).get(0).entries()).as("of equals the first").containsExactly(0, 4, 1);
  }

  @Test
  void thresholdsOfTheCard() {
    ModuleSpec square = ModuleSpec.linear("m", 768, 768);
    Spt.Config lora = config(8, "lora", 1, 10);
    Spt.Config adapter = config(8, "adapter", 1, 10);
    assertThat(Spt.structured(lora, square)).isEqualTo(12288);
    assertThat(Spt.structured(adapter, square)).isEqualTo(13064);
    Sensitivity.Tensor tensor = new Sensitivity.Tensor(new float[0], 12288, 10);
    assertThat(tensor.many(1228)).isFalse();
    assertThat(tensor.many(1229)).isTrue();
    assertThat(Spt.capacity(lora, square)).as("entries without structure").isEqualTo(1228);
    assertThat(Spt.capacity(adapter, square)).isEqualTo(1306);
  }

  @Test
  void sweepComesClosestToTheBudget() {
    // 60 sensitive entries in one matrix, structured (30 parameters) from 30 on; 40 in another.
    float[] first = new float[100];
    float[] second = new float[100];
    for (int i = 0; i < 100; i++) {
      first[i] = i < 60 ? 200 - i : 0;
      second[i] = i < 40 ? 100 - i : 0;
    }
    Sensitivity both =
        new Sensitivity(
            List.of(new Sensitivity.Tensor(first, 30, 1), new Sensitivity.Tensor(second, 1000, 1)));
    assertThat(both.parameters(new int[] {10, 29, 30, 60, 80, 500}))
        .containsExactly(10, 29, 30, 30, 50, 70);
    List<Sensitivity.Share> shares = both.within(55);
    assertThat(shares.get(0).whole()).isTrue();
    assertThat(shares.get(1).entries()).hasSizeBetween(24, 26).startsWith(0, 1, 2);
    assertThat(both.within(1000).get(1).entries()).as("zeros are never picked").hasSize(40);
  }

  private static int parameters(MethodState state) {
    int count = 0;
    for (String path : List.of("large", "middle", "small")) {
      count += state.integers(path + ".spt_structured")[0] * 2 * (8 + 6);
      count += Arrays.stream(state.integers(path + ".spt_bias_mask")).sum();
      for (int i : state.integers(path + ".spt_indices")) {
        count += i < 48 ? 1 : 0;
      }
    }
    return count;
  }

  @Test
  void measuresThenTrainsAndFolds() {
    TinyProblem problem = problem();
    AttachedMethod method = new Spt().attach(config(2, "lora", 45, 2), problem.tree());
    MethodState state = method.initialState(1, problem.weights());
    ParameterVector start = problem.start(method, state);
    assertThat(problem.outputs(method, state, start))
        .containsExactly(problem.plainOutputs(Map.of()));
    TinyProblem.Trained measured =
        problem.train(method, state, start, new TrainingSpan(32, 0, 1, true), 0.02, 0);
    assertThat(measured.state().integers("allocated")).containsExactly(1);
    assertThat(measured.state().integers("large.spt_structured")).containsExactly(1);
    assertThat(measured.state().integers("small.spt_structured")).containsExactly(0);
    assertThat(parameters(measured.state())).isBetween(40, 50);
    TinyProblem.Trained trained =
        problem.train(
            method,
            measured.state(),
            measured.parameters(),
            new TrainingSpan(60, 0, 1, true),
            0.02,
            100);
    assertThat(trained.state()).as("is fixed").isEqualTo(measured.state());
    assertThat(trained.losses().get(59)).isLessThan(0.9 * measured.losses().get(0));
    assertThat(
            TinyProblem.distance(
                problem.plainOutputs(
                    method.fuse(trained.parameters(), trained.state(), problem.weights())),
                problem.outputs(method, trained.state(), trained.parameters())))
        .isLessThan(1e-5);
    TinyProblem.Trained few =
        problem.train(method, state, start, new TrainingSpan(16, 0, 1, false), 0.02, 0);
    assertThat(few.parameters()).as("measuring changes nothing").isEqualTo(start);
  }

  @Test
  void sparseEntriesAreTrainedAloneAndFold() {
    TinyProblem problem = problem();
    AttachedMethod method = new Spt().attach(config(2, "lora", 20, 1), problem.tree());
    MethodState state = method.initialState(1, problem.weights());
    TinyProblem.Trained trained =
        problem.train(
            method, state, problem.start(method, state), new TrainingSpan(60, 0, 1, true), 0.05, 0);
    int[] indices = trained.state().integers("large.spt_indices");
    assertThat(trained.state().integers("large.spt_structured")).containsExactly(0);
    Map<String, float[]> fused =
        method.fuse(trained.parameters(), trained.state(), problem.weights());
    float[] before = problem.weights().tensor("large.weight");
    int changed = 0;
    for (int i = 0; i < 48; i++) {
      int at = i;
      boolean selected = Arrays.stream(indices).anyMatch(index -> index == at);
      assertThat(TinyProblem.named(fused, "large.weight")[i] != before[i])
          .as("entry " + i)
          .isEqualTo(selected);
      changed += selected ? 1 : 0;
    }
    assertThat(changed).isBetween(10, 21);
    assertThat(
            TinyProblem.distance(
                problem.plainOutputs(fused),
                problem.outputs(method, trained.state(), trained.parameters())))
        .isLessThan(1e-5);
  }

  /** 16 batches of one data set, or 4 of one client and 12 of another. */
  @Test
  void clientsMeasureWhatOneWould() {
    TinyProblem problem = problem();
    AttachedMethod method = new Spt().attach(config(2, "lora", 45, 2), problem.tree());
    MethodState state = method.initialState(1, problem.weights());
    ParameterVector start = problem.start(method, state);
    MethodState alone =
        problem.train(method, state, start, new TrainingSpan(32, 0, 1, true), 0.02, 0).state();
    TinyProblem.Trained one =
        problem.train(method, state, start, new TrainingSpan(4, 0, 0.1, false), 0.02, 0);
    TinyProblem.Trained two =
        problem.train(method, state, start, new TrainingSpan(12, 0, 0.1, false), 0.02, 4);
    TinyProblem.Trained all =
        problem.train(method, state, start, new TrainingSpan(16, 0, 0.1, false), 0.02, 0);
    Map<String, float[]> sum = AdaLoraTest.sum(one.report(), 4 / 16f, two.report(), 12 / 16f);
    all.report()
        .forEach(
            (name, scores) -> {
              for (int i = 0; i < scores.length; i++) {
                assertThat((double) TinyProblem.named(sum, name)[i])
                    .isCloseTo(scores[i], within(1e-5 * scores[i]));
              }
            });
    RoundDecision.Output decided = method.decide(state, new RoundDecision.Input(1, 10, sum, start));
    assertThat(decided.state()).isEqualTo(alone);
    assertThat(method.decide(decided.state(), new RoundDecision.Input(2, 10, sum, start)).state())
        .as("decided once")
        .isEqualTo(alone);
  }

  @Test
  void adaptersLearnButDoNotFold() {
    TinyProblem problem = problem();
    AttachedMethod method = new Spt().attach(config(2, "adapter", 90, 4), problem.tree());
    MethodState state = method.initialState(1, problem.weights());
    ParameterVector start = problem.start(method, state);
    TinyProblem.Trained trained =
        problem.train(method, state, start, new TrainingSpan(60, 0, 1, true), 0.02, 0);
    assertThat(trained.state().integers("large.spt_structured")).containsExactly(1);
    assertThat(trained.parameters().tensor("large.adapter_up.weight"))
        .isNotEqualTo(start.tensor("large.adapter_up.weight"));
    assertThat(trained.losses().get(59)).isLessThan(trained.losses().get(0));
    assertThat(method.whyNotFused().orElse("")).contains("ReLU");
    assertThatThrownBy(() -> method.fuse(trained.parameters(), trained.state(), problem.weights()))
        .isInstanceOf(IllegalStateException.class);
  }

  @Test
  void stateSurvivesTheFileAndSparseEntriesAverageExactly() {
    TinyProblem problem = problem();
    AttachedMethod method = new Spt().attach(config(2, "lora", 45, 2), problem.tree());
    assertThat(method.role("large.spt_delta")).isEqualTo(TensorRole.LINEAR);
    assertThat(method.role("large.lora_A.weight")).isEqualTo(TensorRole.FACTOR);
    MethodState state = method.initialState(1, problem.weights());
    TinyProblem.Trained trained =
        problem.train(
            method, state, problem.start(method, state), new TrainingSpan(40, 0, 1, true), 0.02, 0);
    var file = method.save(trained.parameters(), trained.state());
    assertThat(method.load(new AdapterTensors("test", file), problem.weights()).state())
        .isEqualTo(trained.state());
    String name = AdapterTensors.PREFIX + "small.spt_indices";
    int capacity = state.integers("small.spt_indices").length;
    long[] wrong = new long[capacity];
    wrong[capacity - 1] = -1;
    file.put(name, TensorData.ofLongs(name, List.of(capacity), wrong, DType.I32));
    assertThatThrownBy(() -> method.load(new AdapterTensors("test", file), problem.weights()))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("small.spt_indices holds -1")
        .hasMessageContaining("0..48");
  }

  @Test
  void refusesBadSettings() {
    assertThatThrownBy(() -> config(0, "prefix", 0, 0.5))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("r: must be 1..512")
        .hasMessageContaining("structured_type: must be lora or adapter, got prefix")
        .hasMessageContaining("budget")
        .hasMessageContaining("structured_ratio");
  }
}
