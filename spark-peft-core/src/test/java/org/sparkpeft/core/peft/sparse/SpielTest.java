package org.sparkpeft.core.peft.sparse;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.RoundDecision;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.train.LocalResult;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

class SpielTest {
  private static SpielAg.Config ag(String policy, int entries) {
    return new SpielAg.Config(
        TargetModules.of("query"),
        List.of(),
        List.of(),
        entries,
        0.01,
        20,
        5,
        0.2,
        policy,
        List.of());
  }

  private static SpielMa.Config ma(int entries) {
    return new SpielMa.Config(
        TargetModules.of("query"),
        List.of(),
        List.of(),
        entries,
        0.01,
        20,
        5,
        0.2,
        "linear",
        List.of());
  }

  @Test
  void workedDropAndGrow() {
    float[] sums = new float[10];
    sums[3] = 4;
    sums[7] = -3;
    sums[0] = 2.5f;
    sums[2] = 1;
    int[] before = {0, 3, 5, 9};
    float[] values = {.02f, -.5f, .3f, -.01f};
    SlotChange change = SlotChange.of(before, values, 10, 2, true, SlotSteering.byMagnitude(sums));
    assertThat(change.slots()).containsExactly(3);
    assertThat(change.indices()).containsExactly(7);
    assertThat(change.apply(before)).containsExactly(0, 3, 5, 7);
  }

  @Test
  void changesFewerSlotsWhereFewerCanGrow() {
    float[] sums = new float[10];
    sums[7] = 1;
    int[] before = {0, 3, 5, 9};
    SlotChange change =
        SlotChange.of(
            before, new float[] {1, 2, 3, 4}, 10, 3, true, SlotSteering.byMagnitude(sums));
    assertThat(change.apply(before)).containsExactly(7, 3, 5, 9);
  }

  @Test
  void schedule() {
    SpielSchedule schedule = new SpielSchedule(20, 5, 0.2, "linear");
    List<Integer> selections =
        IntStream.rangeClosed(1, 100).filter(schedule::selects).boxed().toList();
    assertThat(selections).containsExactly(5, 25, 45, 65, 85);
    double[] rates = new double[5];
    for (int i = 0; i < 5; i++) {
      rates[i] = schedule.rate(i == 0, selections.get(i) / 100.0);
    }
    assertThat(rates).containsExactly(new double[] {1, .15, .11, .07, .03}, within(1e-12));
    assertThat(IntStream.range(0, 30).filter(schedule::watches))
        .containsExactly(0, 1, 2, 3, 4, 19, 20, 21, 22, 23, 24);
    SpielSchedule cosine = new SpielSchedule(20, 5, 0.2, "cosine");
    assertThat(cosine.rate(true, 0.5)).isCloseTo(0.1, within(1e-12));
  }

  @Test
  void newSlotsTakeOverWhatTheirCandidatesSaw() {
    Candidates candidates = Candidates.of(new float[] {0, 5, 0}, 1);
    float[][] gradients = {{9, 1, 0}, {9, -1, 0}, {0, -1, 0}, {0, -1, 0}, {0, -1, 0}};
    for (float[] gradient : gradients) {
      candidates.add(gradient);
    }
    double[] seeded = new double[4];
    StepObserver.OptimizerMoments moments =
        new StepObserver.OptimizerMoments() {
          @Override
          public void restart(int index, double first, double second, int age) {
            throw new AssertionError("the means are not yet biased");
          }

          @Override
          public void seed(int index, double mean, double meanSquare, int age) {
            seeded[0] = index;
            seeded[1] = mean;
            seeded[2] = meanSquare;
            seeded[3] = age;
          }
        };
    candidates.seed(moments, 17, 1);
    assertThat(seeded).containsExactly(new double[] {17, -0.6, 1, 5}, within(1e-12));
    assertThat(candidates.dense(3)).containsExactly(0, -3, 0);
  }

  @Test
  void workedSm3() {
    Sm3 sm3 = new Sm3(2, 3);
    int[] active = {0, 2, 4};
    float[] values = new float[3];
    float[][] gradients = {{1, 2, -1}, {.5f, 0, 3}};
    for (float[] gradient : gradients) {
      float[] step = sm3.step(active, gradient, 0);
      for (int i = 0; i < 3; i++) {
        values[i] -= .1f * step[i];
      }
      if (gradient == gradients[0]) {
        assertThat(values).containsExactly(new float[] {-.1f, -.1f, .1f}, within(1e-6f));
        assertThat(sm3.rows()).containsExactly(4, 1);
        assertThat(sm3.columns()).containsExactly(1, 1, 4);
      }
    }
    assertThat(values).containsExactly(new float[] {-.144721f, -.1f, .005132f}, within(1e-6f));
    assertThat(sm3.rows()).containsExactly(4, 10);
    assertThat(sm3.columns()).containsExactly(1.25f, 10, 4);
    BitSet excluded = new BitSet();
    Arrays.stream(active).forEach(excluded::set);
    assertThat(sm3.grow(excluded, 1)).containsExactly(1);
    assertThat(sm3.grow(excluded, 3)).containsExactly(1, 5, 3);
    assertThat(sm3.grow(excluded, 9)).containsExactly(1, 5, 3);
    assertThat(sm3.grow(excluded, 0)).isEmpty();
  }

  /** Against sorting, with ties, negative scores, zeros of both signs and exclusions. */
  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3, 4, 5, 6})
  void largestAreThoseThatSortingFinds(long seed) {
    Philox random = Philox.of(seed, "largest");
    int n = 1 + (int) (random.doubleAt(0) * 400);
    float[] scores = random.child(1).gaussian(n, 1e-3);
    BitSet excluded = new BitSet();
    for (int i = 0; i < n; i++) {
      double kind = random.child(2).doubleAt(i);
      if (kind < 0.3) {
        scores[i] = Math.round(1e3f * scores[i]);
      } else if (kind < 0.4) {
        scores[i] = kind < 0.35 ? 0f : -0f;
      }
      excluded.set(i, random.child(3).doubleAt(i) < 0.2);
    }
    int[] sorted =
        IntStream.range(0, n)
            .filter(i -> !excluded.get(i))
            .boxed()
            .sorted((a, b) -> Float.compare(scores[b] + 0f, scores[a] + 0f))
            .mapToInt(Integer::intValue)
            .toArray();
    for (int count : new int[] {0, 1, n / 3, n}) {
      int[] expected = Arrays.copyOf(sorted, Math.min(count, sorted.length));
      assertThat(EntrySelection.largest(scores, count, excluded)).containsExactly(expected);
    }
  }

  /** Whatever is dropped and grown, no entry has two slots and their number stays. */
  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8})
  void slotsStayDistinct(long seed) {
    Philox random = Philox.of(seed, "slots");
    int size = 5 + (int) (random.doubleAt(0) * 60);
    int k = 1 + (int) (random.doubleAt(1) * (size - 1));
    int[] indices = EntrySelection.random(random.child(1), size, k);
    float[] values = new float[k];
    for (int round = 0; round < 60; round++) {
      Philox own = random.child(100 + round);
      float[] noise = own.gaussian(k, 1);
      for (int i = 0; i < k; i++) {
        values[i] += noise[i];
      }
      float[] scores = own.child(1).gaussian(size, 1);
      for (int i = 0; i < size; i++) {
        scores[i] = own.child(2).doubleAt(i) < 0.5 ? 0 : Math.round(scores[i]);
      }
      int count = (int) (own.doubleAt(7) * (k + 1));
      boolean spared = own.doubleAt(8) < 0.5;
      SlotChange change =
          SlotChange.of(indices, values, size, count, spared, SlotSteering.byMagnitude(scores));
      int[] after = change.apply(indices);
      assertThat(Arrays.stream(after).distinct().count()).as("seed %d", seed).isEqualTo(k);
      assertThat(Arrays.stream(after).allMatch(i -> i >= 0 && i < size)).isTrue();
      assertThat(change.slots().size()).isLessThanOrEqualTo(count);
      for (int i = 0; i < k; i++) {
        if (!change.slots().contains(i)) {
          assertThat(after[i]).isEqualTo(indices[i]);
        }
      }
      change.slots().forEach(slot -> values[slot] = 0);
      indices = after;
    }
  }

  @Test
  void budgetIsSharedInProportionToSize() {
    ModuleTree modules =
        new ModuleTree(List.of(ModuleSpec.linear("a", 10, 10), ModuleSpec.linear("b", 10, 30)));
    List<ModuleSpec> targets = modules.all();
    assertThat(SlotSteering.share(targets, 42).sites())
        .extracting(SparseDelta.Site::count)
        .containsExactly(10, 31);
    assertThat(SlotSteering.share(targets, 1e9).sites())
        .extracting(SparseDelta.Site::count)
        .containsExactly(100, 300);
    SpielAg.Config one =
        new SpielAg.Config(
            TargetModules.of("a"), List.of(), List.of(), 0, .1, 20, 5, .2, "linear", List.of());
    // 440 parameters with biases, a tenth of them in the one target
    assertThat(new SpielAg().attach(one, modules).shapes())
        .isEqualTo(Map.of("a.sparse_values", List.of(44)));
  }

  @Test
  void trainingMovesSlotsAndKeepsTheirNumber() {
    try (TunableModel plain = TinyBert.load(ag("linear", 90))) {
      TunableModel model = plain.started(1);
      String name = TinyBert.QUERY + ".sparse_indices";
      int k = model.state().integers(name).length;
      LocalResult result = TinyBert.train(model, model.initialParameters(1), 26, 0);
      int[] after = result.state().integers(name);
      assertThat(Arrays.stream(after).distinct().count()).isEqualTo(k);
      assertThat(after).isNotEqualTo(model.state().integers(name));
      assertThat(result.losses().get(25)).isLessThan(result.losses().get(0));
      assertThat(result.report()).isEmpty();
      LocalResult again = TinyBert.train(model, model.initialParameters(1), 26, 0);
      assertThat(again.parameters()).isEqualTo(result.parameters());
      assertThat(again.state()).isEqualTo(result.state());
    }
  }

  @Test
  void momentumApproximationLearnsWithAnyOptimiser() {
    try (TunableModel plain = TinyBert.load(ma(400))) {
      TunableModel model = plain.started(1);
      LocalResult result = TinyBert.train(model, model.initialParameters(1), 30, 0);
      assertThat(result.losses().get(29)).isLessThan(result.losses().get(0));
      String name = TinyBert.QUERY + ".sparse_indices";
      int[] after = result.state().integers(name);
      assertThat(Arrays.stream(after).distinct().count()).isEqualTo(after.length);
    }
  }

  @Test
  void clientsReportAndTheDriverMovesTheSlots() {
    try (TunableModel plain = TinyBert.load(ag("linear", 90))) {
      TunableModel model = plain.started(1);
      ParameterVector start = model.initialParameters(1);
      LocalResult client = TinyBert.round(model, start, 8, 0, 0.5);
      assertThat(client.state()).as("a client moves nothing").isEqualTo(model.state());
      SparseDelta.Site site =
          SlotSteering.share(
                  model.modules().all().stream().filter(m -> m.path().endsWith("query")).toList(),
                  90)
              .sites()
              .get(0);
      float[] report = Objects.requireNonNull(client.report().get(site.weight()));
      assertThat(report).hasSize(site.size());
      assertThat(IntStream.range(0, report.length).filter(i -> report[i] != 0).count())
          .isEqualTo(site.count());
    }
  }

  @Test
  void driverDecidesFromSums() {
    ModuleTree modules = new ModuleTree(List.of(ModuleSpec.linear("query", 3, 2)));
    AttachedMethod method = new SpielAg().attach(ag("linear", 2), modules);
    MethodState state = method.initialState(1, name -> new float[6]);
    assertThat(state.integers("query.sparse_indices")).hasSize(2);
    ParameterLayout layout = ParameterLayout.of(method.shapes());
    ParameterVector trained = ParameterVector.of(layout, new float[] {3, 1});
    Map<String, float[]> reports = new HashMap<>();
    reports.put("query.weight", new float[] {0, 1, -5, 0, 4, 0});
    RoundDecision.Output first =
        method.decide(state, new RoundDecision.Input(1, 4, reports, trained));
    assertThat(first.state().integers("query.sparse_indices"))
        .as("the first decision replaces all")
        .containsExactlyInAnyOrder(2, 4);
    int[] now = first.state().integers("query.sparse_indices");
    ParameterVector later = ParameterVector.of(layout, new float[] {3, 1});
    RoundDecision.Output second =
        method.decide(first.state(), new RoundDecision.Input(2, 4, reports, later));
    assertThat(second.state().integers("query.sparse_indices"))
        .as("a tenth of two slots is none")
        .containsExactly(now);
    assertThat(second.parameters()).isEqualTo(later);
    assertThatThrownBy(() -> method.decide(state, new RoundDecision.Input(1, 4, Map.of(), trained)))
        .hasMessageContaining("query.weight");

    AttachedMethod approximate = new SpielMa().attach(ma(2), modules);
    MethodState before =
        approximate
            .initialState(1, name -> new float[6])
            .with(
                new MethodState.Builder()
                    .integers("query.sparse_indices", List.of(2), new int[] {0, 1})
                    .build());
    Map<String, float[]> sums = new HashMap<>();
    sums.put("query.weight.rows", new float[] {1, 3});
    sums.put("query.weight.columns", new float[] {1, 2, 4});
    RoundDecision.Output moved =
        approximate.decide(before, new RoundDecision.Input(1, 4, sums, trained));
    assertThat(moved.state().integers("query.sparse_indices")).containsExactly(4, 5);
    assertThat(moved.parameters().toArray()).containsExactly(0, 0);
  }

  @Test
  void windowIsWatchedOnlyWhereItCounts() {
    ModuleTree modules = new ModuleTree(List.of(ModuleSpec.linear("query", 3, 2)));
    AttachedMethod method = new SpielAg().attach(ag("linear", 2), modules);
    MethodState state = method.initialState(1, name -> new float[6]);
    ParameterLayout layout = ParameterLayout.of(method.shapes());
    StepObserver alone = method.observer(state, new TrainingSpan(100, 0, 1, true), layout);
    assertThat(alone.wants("query.weight", 4)).isTrue();
    assertThat(alone.wants("query.weight", 5)).isFalse();
    assertThat(alone.wants("other.weight", 4)).isFalse();
    StepObserver client = method.observer(state, new TrainingSpan(100, 0, .1, false), layout);
    assertThat(client.wants("query.weight", 4)).isTrue();
    assertThat(client.wants("query.weight", 20)).isFalse();
  }

  @Test
  void refusesImpossibleSchedules() {
    assertThatThrownBy(
            () ->
                new SpielAg.Config(
                    TargetModules.of("query"),
                    List.of(),
                    List.of(),
                    -1,
                    2,
                    5,
                    5,
                    0,
                    "step",
                    List.of()))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("num_tunable_weights")
        .hasMessageContaining("density")
        .hasMessageContaining("selection_accumulation_steps")
        .hasMessageContaining("initial_reselection_rate")
        .hasMessageContaining("reselection_rate_policy");
  }
}
