package org.sparkpeft.core.peft.sparse;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Probes;
import org.sparkpeft.core.peft.RoundDecision;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.train.LocalResult;
import org.sparkpeft.core.train.TunableModel;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/** Full training first, then what changed most: LT_SFT and PIVOTAL. */
class LotteryTest {
  private static final ModuleTree ROW =
      new ModuleTree(
          List.of(
              new ModuleSpec(
                  "a", ModuleSpec.Kind.LINEAR, 5, 1, false, ModuleSpec.Origin.REQUIRED)));
  private static final float[] BASE = {.5f, -1, .2f, .8f, -.3f};
  private static final float[] TRAINED = {.9f, -1.05f, .2f, .5f, -.1f};

  private static LtSft.Config ticket(int entries, double full, double l1) {
    return new LtSft.Config(
        Checks.EVERYTHING, List.of(), List.of(), true, entries, .01, full, l1, 0, List.of());
  }

  private static Pivotal.Config pivotal(double density, int selections) {
    return new Pivotal.Config(
        Checks.EVERYTHING, List.of(), List.of(), density, selections, .5, 1e-3, List.of());
  }

  private static float[] change() {
    float[] change = new float[5];
    for (int i = 0; i < 5; i++) {
      change[i] = TRAINED[i] - BASE[i];
    }
    return change;
  }

  @Test
  void maskIsWhatChangedMost() {
    EntryMask mask =
        EntryMask.ALL.largestOfAll(Map.of("a", EntrySelection.magnitudes(change())), 2);
    assertThat(mask.mask("a").stream()).containsExactly(0, 3);
    assertThat(EntryMask.of(mask.state())).isEqualTo(mask);
    assertThat(EntryMask.of(EntryMask.ALL.state())).isEqualTo(EntryMask.ALL);
  }

  @Test
  void regulariserOfTheWorkedExample() {
    AttachedMethod method = new LtSft().attach(ticket(2, .5, .1), ROW);
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      List<NDArray> terms = new ArrayList<>();
      TokenBatch batch = TokenBatch.of(List.of(new int[] {1}), 0);
      TuningContext context =
          new TuningContext(manager, true, Philox.of(1, "t"), batch, Probes.none(), terms);
      MethodState state = method.initialState(1, n -> BASE);
      Map<String, NDArray> views = Map.of("a.diff", manager.create(change(), new Shape(1, 5)));
      method.modifications(new MethodTensors(views, MethodTensors.load(manager, state)), context);
      assertThat(terms).hasSize(1);
      assertThat(terms.get(0).getFloat()).isCloseTo(.019f, within(1e-6f));
    }
  }

  @Test
  void rewindsEverythingAndThenTrainsTheMaskAlone() {
    AttachedMethod method = new LtSft().attach(ticket(2, .5, 0), ROW);
    ParameterLayout layout =
        ParameterLayout.of(Map.of("a.diff", List.of(1, 5), "classifier.weight", List.of(2)));
    MethodState state = method.initialState(1, n -> BASE);
    StepObserver observer = method.observer(state, new TrainingSpan(4, 0, 1, true), layout);
    int own = layout.entry("a.diff").offset();
    int head = layout.entry("classifier.weight").offset();
    float[] flat = new float[7];
    flat[head] = 7;
    TinyBert.Moments moments = new TinyBert.Moments();
    observer.beforeStep(TinyBert.update(0, layout, flat, new float[7], Map.of(), moments));
    flat[head] = 8;
    assertThat(
            observer.afterStep(TinyBert.update(0, layout, flat, new float[7], Map.of(), moments)))
        .isEmpty();
    System.arraycopy(change(), 0, flat, own, 5);
    MethodState sparse =
        observer
            .afterStep(TinyBert.update(1, layout, flat, new float[7], Map.of(), moments))
            .orElseThrow();
    assertThat(EntryMask.of(sparse).mask("a.diff").stream()).containsExactly(0, 3);
    assertThat(flat[head]).isEqualTo(7);
    assertThat(Arrays.copyOfRange(flat, own, own + 5)).containsOnly(0);
    assertThat(moments.restarted).hasSize(7);
    float[] gradient = {1, 1, 1, 1, 1, 1, 1};
    observer.beforeStep(TinyBert.update(2, layout, flat, gradient, Map.of(), moments));
    assertThat(Arrays.copyOfRange(gradient, own, own + 5)).containsExactly(1, 0, 0, 1, 0);
    assertThat(gradient[head]).isEqualTo(1);
  }

  @Test
  void trainingChangesTheMaskAloneWhateverTheDecay() {
    try (TunableModel plain = TinyBert.load(ticket(40, .25, 0))) {
      TunableModel model = plain.started(1);
      ParameterVector start = model.initialParameters(1);
      LocalResult result = TinyBert.train(model, start, 40, 0.1);
      Map<String, BitSet> masks = EntryMask.of(result.state()).masks();
      assertThat(masks.values().stream().mapToInt(BitSet::cardinality).sum()).isEqualTo(40);
      int changed = 0;
      for (ParameterLayout.Entry entry : start.layout().entries()) {
        if (entry.name().endsWith(".diff") || entry.name().endsWith(".diff_b")) {
          float[] values = result.parameters().tensor(entry.name());
          for (int i = 0; i < values.length; i++) {
            boolean zero = Float.floatToIntBits(values[i]) == 0;
            assertThat(zero || masks.getOrDefault(entry.name(), new BitSet()).get(i)).isTrue();
            changed += zero ? 0 : 1;
          }
        }
      }
      assertThat(changed).isGreaterThan(20);
      assertThat(result.losses().get(39)).isLessThan(result.losses().get(0));
    }
  }

  @Test
  void clientsReportAndTheDriverDecidesTheMask() {
    AttachedMethod method = new LtSft().attach(ticket(2, .5, 0), ROW);
    ParameterLayout layout =
        ParameterLayout.of(Map.of("a.diff", List.of(1, 5), "classifier.weight", List.of(2)));
    MethodState state = method.initialState(1, n -> BASE);
    TinyBert.Moments moments = new TinyBert.Moments();
    StepObserver first = method.observer(state, new TrainingSpan(1, 0, .25, false), layout);
    float[] flat = {0, 0, 0, 0, 0, 7, 6};
    StepObserver.Update update = TinyBert.update(0, layout, flat, new float[7], Map.of(), moments);
    first.beforeStep(update);
    System.arraycopy(change(), 0, flat, 0, 5);
    flat[5] = 9;
    first.afterStep(update);
    assertThat(first.report()).containsOnlyKeys("start:classifier.weight");
    ParameterVector server = ParameterVector.of(layout, flat);
    MethodState after =
        method.decide(state, new RoundDecision.Input(1, 4, first.report(), server)).state();

    StepObserver second = method.observer(after, new TrainingSpan(1, .25, .5, false), layout);
    second.beforeStep(update);
    flat[1] = -9; // what one client changed counts in the sum
    second.afterStep(update);
    assertThat(second.report()).containsOnlyKeys("a.diff");
    RoundDecision.Output decided =
        method.decide(after, new RoundDecision.Input(2, 4, second.report(), server));
    assertThat(EntryMask.of(decided.state()).mask("a.diff").stream()).containsExactly(0, 1);
    assertThat(decided.parameters().toArray()).containsExactly(0, 0, 0, 0, 0, 7, 6);
    RoundDecision.Input third = new RoundDecision.Input(3, 4, Map.of(), server);
    assertThat(method.decide(decided.state(), third).parameters()).isEqualTo(server);
  }

  @Test
  void deltasOfTwoTrainingsAddInAnyOrder() {
    try (TunableModel plain = TinyBert.load(ticket(60, .5, 0))) {
      TunableModel model = plain.started(1);
      ParameterVector start = model.initialParameters(1);
      ParameterVector zero = ParameterVector.zeros(start.layout());
      ParameterVector one = TinyBert.train(model, start, 8, 0).parameters();
      ParameterVector two = TinyBert.train(model, TinyBert.moved(start, 0.01), 8, 0).parameters();
      assertThat(one).isNotEqualTo(two);
      ParameterVector sum = one.plus(two.minus(zero));
      assertThat(sum).isEqualTo(two.plus(one.minus(zero)));
      String name = TinyBert.QUERY + ".diff";
      float[] a = one.tensor(name);
      float[] b = two.tensor(name);
      float[] both = sum.tensor(name);
      for (int i = 0; i < both.length; i++) {
        assertThat(both[i]).isEqualTo(a[i] + b[i]);
      }
    }
  }

  @Test
  void pivotalNarrowsStepByStep() {
    Pivotal.Config config = pivotal(.01, 2);
    assertThat(config.share(1)).isCloseTo(.1, within(1e-12));
    assertThat(config.share(2)).isCloseTo(.01, within(1e-12));
    assertThat(config.due(.24)).isZero();
    assertThat(config.due(.25)).isEqualTo(1);
    assertThat(config.due(.9)).isEqualTo(2);

    AttachedMethod method = new Pivotal().attach(pivotal(.16, 2), ROW);
    ParameterLayout layout = ParameterLayout.of(method.shapes());
    MethodState state = method.initialState(1, n -> BASE);
    StepObserver observer =
        method.observer(state, new TrainingSpan(4, 0, 1, true), layout, n -> BASE);
    float[] flat = change();
    TinyBert.Moments moments = new TinyBert.Moments();
    StepObserver.Update update = TinyBert.update(0, layout, flat, new float[5], Map.of(), moments);
    observer.beforeStep(update);
    MethodState once = observer.afterStep(update).orElseThrow();
    // |D|/|W| = .8 .05 0 .375 .667; the best two fifths
    assertThat(EntryMask.of(once).mask("a.diff").stream()).containsExactly(0, 4);
    assertThat(flat).containsExactly(change()[0], 0, 0, 0, change()[4]);
    assertThat(moments.restarted.keySet()).containsExactly(1, 2, 3);
    float[] gradient = {1, 1, 1, 1, 1};
    StepObserver.Update next = TinyBert.update(1, layout, flat, gradient, Map.of(), moments);
    observer.beforeStep(next);
    assertThat(gradient).containsExactly(1, 0, 0, 0, 1);
    MethodState twice = observer.afterStep(next).orElseThrow();
    assertThat(EntryMask.of(twice).mask("a.diff").stream()).containsExactly(0);

    Map<String, float[]> reports = new HashMap<>();
    reports.put("a.diff", new float[] {1, 2, 3, 4, 5});
    ParameterVector server = ParameterVector.of(layout, change());
    RoundDecision.Output decided =
        method.decide(once, new RoundDecision.Input(2, 4, reports, server));
    assertThat(EntryMask.of(decided.state()).mask("a.diff").stream())
        .as("only what is still trained can stay")
        .containsExactly(4);
    assertThat(decided.parameters().toArray()).containsExactly(0, 0, 0, 0, change()[4]);
  }

  @Test
  void refusesSettingsOutOfRange() {
    assertThatThrownBy(() -> ticket(-1, 1, -1))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("ft_params_num")
        .hasMessageContaining("full_phase")
        .hasMessageContaining("full_l1_reg");
    assertThatThrownBy(
            () ->
                new Pivotal.Config(
                    TargetModules.of("query"), List.of(), List.of(), 0, 0, 1, 0, List.of()))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("density")
        .hasMessageContaining("selections")
        .hasMessageContaining("selection_end")
        .hasMessageContaining("epsilon");
  }
}
