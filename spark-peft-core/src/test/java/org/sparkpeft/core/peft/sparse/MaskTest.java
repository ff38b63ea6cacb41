package org.sparkpeft.core.peft.sparse;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
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

/** Masks that are drawn or read off the weights: RANDOM_MASK, SARA, DYNAMIC_SPARSE. */
class MaskTest {
  private static final ModuleTree ONE = new ModuleTree(List.of(ModuleSpec.linear("query", 5, 1)));

  private static RandomMask.Config random(double density, String sampling, long seed) {
    return new RandomMask.Config(
        TargetModules.of("query"), List.of(), List.of(), density, sampling, seed, List.of());
  }

  private static Sara.Config sara(double proportion, double threshold, double start) {
    return new Sara.Config(
        TargetModules.of("query"),
        List.of(),
        List.of(),
        proportion,
        threshold,
        start,
        0,
        List.of());
  }

  private static DynamicSparse.Config dynamic(double density) {
    return new DynamicSparse.Config(
        TargetModules.of("query"), List.of(), List.of(), density, 2, 0.5, 0.005, List.of());
  }

  @Test
  void masksHaveTheStatedDensityAndFollowTheirSeed() {
    ModuleTree modules = new ModuleTree(List.of(ModuleSpec.linear("query", 100, 200)));
    AttachedMethod exact = new RandomMask().attach(random(0.03, "exact", 7), modules);
    int[] mask = exact.initialState(1, n -> new float[0]).integers("query.sparse_indices");
    assertThat(mask).hasSize(600).isSorted();
    assertThat(Arrays.stream(mask).distinct().count()).isEqualTo(600);
    assertThat(exact.initialState(2, n -> new float[0]).integers("query.sparse_indices"))
        .as("the run's seed does not matter")
        .containsExactly(mask);
    AttachedMethod other = new RandomMask().attach(random(0.03, "exact", 8), modules);
    assertThat(other.initialState(1, n -> new float[0]).integers("query.sparse_indices"))
        .isNotEqualTo(mask);
    // each quarter of the matrix holds about a quarter of the mask
    assertThat(Arrays.stream(mask).filter(i -> i < 5000).count()).isBetween(115L, 185L);
    AttachedMethod bernoulli = new RandomMask().attach(random(0.03, "bernoulli", 7), modules);
    int drawn = Objects.requireNonNull(bernoulli.shapes().get("query.sparse_values")).get(0);
    assertThat(drawn).isBetween(520, 680).isNotEqualTo(600);
  }

  @Test
  void onlyTheSeedTravels() {
    AttachedMethod method = new RandomMask().attach(random(0.6, "exact", 7), ONE);
    MethodState state = method.initialState(0, n -> new float[5]);
    ParameterVector parameters =
        ParameterVector.of(ParameterLayout.of(method.shapes()), new float[] {1, 2, 3});
    assertThat(method.save(parameters, state).keySet())
        .containsExactly("base_model.model.query.sparse_values");
  }

  @Test
  void untouchedEntriesKeepTheirBits() {
    try (TunableModel plain = TinyBert.load(random(0.05, "exact", 7))) {
      TunableModel model = plain.started(1);
      LocalResult result = TinyBert.train(model, model.initialParameters(1), 40, 0.1);
      int[] mask = model.state().integers(TinyBert.QUERY + ".sparse_indices");
      AttachedMethod method = new RandomMask().attach(random(0.05, "exact", 7), model.modules());
      float[] base = Philox.of(1, "w").gaussian(32 * 32, 0.1);
      BaseWeights weights =
          name -> {
            ModuleSpec module = model.modules().find(name.replace(".weight", "")).orElseThrow();
            return Arrays.copyOf(base, module.in() * module.out());
          };
      float[] fused =
          Objects.requireNonNull(
              method
                  .fuse(result.parameters(), model.state(), weights)
                  .get(TinyBert.QUERY + ".weight"));
      int changed = 0;
      for (int i = 0; i < fused.length; i++) {
        boolean inMask = Arrays.binarySearch(mask, i) >= 0;
        boolean same =
            Float.floatToIntBits(fused[i])
                == Float.floatToIntBits(weights.tensor(TinyBert.QUERY + ".weight")[i]);
        assertThat(inMask || same).isTrue();
        changed += same ? 0 : 1;
      }
      assertThat(changed).isGreaterThan(mask.length / 2);
    }
  }

  @Test
  void saraTrainsWhatIsBelowTheThreshold() {
    float[] w = {.0005f, -.0015f, .3f, -.0021f, .002f};
    AttachedMethod method = new Sara().attach(sara(1, 0.002, 1), ONE);
    MethodState state = method.initialState(1, name -> w);
    assertThat(state.integers("query.sparse_indices")).containsExactly(0, 1, 2, 3, 4);
    assertThat(state.integers("query.sparse_active")).containsExactly(1, 1, 0, 0, 0);
    AttachedMethod smallest = new Sara().attach(sara(0.6, 0, 1), ONE);
    MethodState three = smallest.initialState(1, name -> w);
    assertThat(three.integers("query.sparse_indices")).containsExactly(0, 1, 4);
    assertThat(three.integers("query.sparse_active")).containsExactly(1, 1, 1);
    assertThat(Sara.suggestedRate(2e-3)).isCloseTo(4.966e-4, within(5e-8));
  }

  @Test
  void saraStopsWhatBecameEffective() {
    float[] w = {.0005f, -.0015f, .3f, -.0021f, .002f};
    AttachedMethod method = new Sara().attach(sara(1, 0.002, 0.5), ONE);
    MethodState state = method.initialState(1, name -> w);
    ParameterLayout layout = ParameterLayout.of(method.shapes());
    float[] values = {.001f, -.001f, 0, 0, 0};
    StepObserver observer = method.observer(state, new TrainingSpan(2, 0, 1, true), layout);
    TinyBert.Moments moments = new TinyBert.Moments();
    float[] gradient = {1, 1, 1, 1, 1};
    StepObserver.Update update = TinyBert.update(0, layout, values, gradient, Map.of(), moments);
    observer.beforeStep(update);
    assertThat(gradient).containsExactly(1, 1, 0, 0, 0);
    values[2] = 9;
    MethodState narrowed = observer.afterStep(update).orElseThrow();
    assertThat(values[2]).isZero();
    assertThat(narrowed.integers("query.sparse_active")).containsExactly(1, 0, 0, 0, 0);
    assertThat(moments.restarted).hasSize(5);

    ParameterVector parameters = ParameterVector.of(layout, values);
    RoundDecision.Input early = new RoundDecision.Input(1, 4, Map.of(), parameters);
    assertThat(method.decide(state, early).state()).isEqualTo(state);
    RoundDecision.Input half = new RoundDecision.Input(2, 4, Map.of(), parameters);
    assertThat(method.decide(state, half).state()).isEqualTo(narrowed);
  }

  @Test
  void polarFactorIsTheGradientOfTheNuclearNorm() {
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      // singular values 5 and 3 with orthogonal factors of thirds
      NDArray x = manager.create(new float[] {3, 2, 2, 2, 3, -2}, new Shape(2, 3));
      NDArray factor = PolarFactor.of(x);
      assertThat(factor.mul(x).sum().getFloat()).isCloseTo(8, within(1e-4f));
      assertThat(factor.matMul(factor.transpose()).toFloatArray())
          .containsExactly(new float[] {1, 0, 0, 1}, within(1e-5f));
    }
  }

  @Test
  void nuclearNormOfTheTrainedEntriesIsPenalised() {
    ModuleTree modules = new ModuleTree(List.of(ModuleSpec.linear("query", 70, 70)));
    Sara.Config config =
        new Sara.Config(TargetModules.of("query"), List.of(), List.of(), 1, 0.5, 1, 0.1, List.of());
    AttachedMethod method = new Sara().attach(config, modules);
    float[] w = new float[4900];
    w[0] = 3; // not below the threshold, so not of the matrix that is penalised
    w[71] = .25f;
    MethodState state = method.initialState(1, n -> w);
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      List<NDArray> terms = new ArrayList<>();
      TokenBatch batch = TokenBatch.of(List.of(new int[] {1}), 0);
      TuningContext context =
          new TuningContext(manager, true, Philox.of(1, "t"), batch, Probes.none(), terms);
      Map<String, NDArray> views = Map.of("query.sparse_values", manager.zeros(new Shape(4900)));
      method.modifications(new MethodTensors(views, MethodTensors.load(manager, state)), context);
      assertThat(terms).hasSize(1);
      assertThat(terms.get(0).getFloat()).isCloseTo(.025f, within(1e-5f));
    }
  }

  @Test
  void deathRateFallsAsACosine() {
    DynamicSparse.Config config = dynamic(0.5);
    assertThat(config.deathRate(0)).isCloseTo(.5, within(1e-12));
    assertThat(config.deathRate(.5)).isCloseTo(.2525, within(1e-12));
    assertThat(config.deathRate(1)).isCloseTo(.005, within(1e-12));
  }

  @Test
  void pruneAndGrowKeepsTheDensity() {
    ModuleTree modules = new ModuleTree(List.of(ModuleSpec.linear("query", 3, 2)));
    AttachedMethod method = new DynamicSparse().attach(dynamic(0.5), modules);
    MethodState state =
        method
            .initialState(1, n -> new float[6])
            .with(
                new MethodState.Builder()
                    .integers("query.sparse_indices", List.of(3), new int[] {4, 0, 2})
                    .build());
    ParameterLayout layout = ParameterLayout.of(method.shapes());
    float[] values = {.5f, -.1f, .2f};
    StepObserver observer = method.observer(state, new TrainingSpan(4, 0, 1, true), layout);
    assertThat(observer.wants("query.weight", 0)).isFalse();
    assertThat(observer.wants("query.weight", 1)).isTrue();
    TinyBert.Moments moments = new TinyBert.Moments();
    Map<String, float[]> probes = Map.of("query.weight", new float[] {-7, 1, 2, -9, 50, 3});
    StepObserver.Update update = TinyBert.update(1, layout, values, new float[3], probes, moments);
    observer.beforeStep(update);
    // half-way .2525 of 3 slots, rounded up: one dies (entry 0, value -.1); 3 has the largest
    // gradient outside, and 0 itself is next
    MethodState after = observer.afterStep(update).orElseThrow();
    assertThat(after.integers("query.sparse_indices")).containsExactly(4, 3, 2);
    assertThat(values).containsExactly(.5f, 0, .2f);
    assertThat(moments.restarted.keySet()).containsExactly(1);

    Map<String, float[]> reports = Map.of("query.weight", new float[] {9, 0, 0, 1, 0, 0});
    ParameterVector server = ParameterVector.of(layout, new float[] {.5f, -.1f, .2f});
    RoundDecision.Output decided =
        method.decide(state, new RoundDecision.Input(2, 4, reports, server));
    assertThat(decided.state().integers("query.sparse_indices"))
        .as("what died may grow again, at zero")
        .containsExactly(4, 0, 2);
    assertThat(decided.parameters().toArray()).containsExactly(.5f, 0, .2f);
  }

  @Test
  void refusesIndicesThatAreNoMask() {
    AttachedMethod method = new Sara().attach(sara(0.4, 0, 1), ONE);
    for (long[] wrong : new long[][] {{1, 1}, {2, 1}, {-1, 2}, {3, 5}}) {
      AdapterTensors file =
          new AdapterTensors(
              "file",
              TensorData.byName(
                  List.of(
                      TensorData.ofFloats(
                          "base_model.model.query.sparse_values", List.of(2), new float[2]),
                      TensorData.ofLongs(
                          "base_model.model.query.sparse_indices", List.of(2), wrong, DType.I32))));
      assertThatThrownBy(() -> method.load(file, n -> new float[5]))
          .isInstanceOf(FormatException.class)
          .hasMessageContaining("0..4");
    }
  }

  @Test
  void refusesSettingsOutOfRange() {
    assertThatThrownBy(() -> random(0, "some", 1))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("density")
        .hasMessageContaining("sampling");
    assertThatThrownBy(() -> sara(1.5, -1, 0))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("proportion")
        .hasMessageContaining("threshold")
        .hasMessageContaining("progressive_start");
    assertThatThrownBy(() -> dynamic(0)).isInstanceOf(ConfigException.class);
  }
}
