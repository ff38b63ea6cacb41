package org.sparkpeft.core.peft.lora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.model.WeightForm;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.ModifiedForward;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.RoundDecision;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/** Small layers, with numbers one can work out. */
class LoraFamilyTest {
  private static final Offset<Float> CLOSE = Offset.offset(1e-5f);
  private static final TargetModules TARGET = TargetModules.of("a");

  private static ModuleTree one(int in, int out) {
    return new ModuleTree(List.of(ModuleSpec.linear("a", in, out)));
  }

  private static BaseWeights base(float... weight) {
    return name -> weight.clone();
  }

  private static ParameterVector parameters(AttachedMethod method, Map<String, float[]> values) {
    ParameterLayout layout = ParameterLayout.of(method.shapes());
    float[] flat = new float[layout.size()];
    values.forEach(
        (name, tensor) ->
            System.arraycopy(tensor, 0, flat, layout.entry(name).offset(), tensor.length));
    return ParameterVector.wrap(layout, flat);
  }

  /** Outputs of the layer {@code a} without a bias for rows of inputs. */
  private static float[] output(
      AttachedMethod method,
      ParameterVector parameters,
      MethodState state,
      float[] weight,
      int[] tasks,
      float... x) {
    int rows = tasks.length;
    int in = x.length / rows;
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      Map<String, NDArray> frozen = MethodTensors.load(manager, state);
      Linear layer =
          new Linear("a", manager.create(weight, new Shape(weight.length / in, in)), null);
      int owned = manager.getManagedArrays().size();
      float[] y;
      try (NDManager step = manager.newSubManager()) {
        Map<String, NDArray> views = new LinkedHashMap<>();
        method
            .shapes()
            .forEach(
                (name, shape) ->
                    views.put(
                        name,
                        step.create(
                            parameters.tensor(name),
                            new Shape(shape.stream().mapToLong(i -> i).toArray()))));
        List<int[]> tokens = java.util.Collections.nCopies(rows, new int[] {1});
        TuningContext context =
            TuningContext.inference(step, TokenBatch.of(tokens, 0).withTasks(tasks));
        y =
            ModifiedForward.of(method.modifications(new MethodTensors(views, frozen), context))
                .linear(layer, step.create(x, new Shape(rows, in)))
                .toFloatArray();
      }
      assertThat(manager.getManagedArrays().size()).as("owned after the step").isEqualTo(owned);
      return y;
    }
  }

  private static float[] times(float[] weight, float... x) {
    float[] y = new float[weight.length / x.length];
    for (int i = 0; i < weight.length; i++) {
      y[i / x.length] += weight[i] * x[i % x.length];
    }
    return y;
  }

  @Test
  void veraScalesSharedProjections() {
    Vera.Config config = new Vera.Config(2, TARGET, 0, true, 0, 0.1, List.of(), List.of());
    AttachedMethod vera = new Vera().attach(config, one(3, 2));
    MethodState state =
        new MethodState.Builder()
            .floats("vera_A", List.of(2, 3), new float[] {1, 0, 1, 0, 1, 0})
            .floats("vera_B", List.of(2, 2), new float[] {1, 0, 1, 1})
            .build();
    float[] w = new float[6];
    ParameterVector trained =
        parameters(
            vera,
            Map.of(
                "a.vera_lambda_d", new float[] {0.1f, 0.2f},
                "a.vera_lambda_b", new float[] {2, 0}));
    float[] delta = {0.2f, 0, 0.2f, 0, 0, 0};
    assertThat(vera.fuse(trained, state, base(w)).get("a.weight")).containsExactly(delta, CLOSE);
    assertThat(output(vera, trained, state, w, new int[1], 1, 2, 3))
        .containsExactly(new float[] {0.8f, 0}, CLOSE);
    assertAsLora(vera, trained, state, one(3, 2), w);
  }

  @Test
  void veraCutsProjectionsToTheLayer() {
    ModuleTree modules =
        new ModuleTree(List.of(ModuleSpec.linear("x.a", 2, 1), ModuleSpec.linear("y.a", 5, 4)));
    Vera.Config config = new Vera.Config(3, TARGET, 9, true, 0, 0.1, List.of(), List.of());
    AttachedMethod vera = new Vera().attach(config, modules);
    assertThat(ParameterLayout.of(vera.shapes()).size()).isEqualTo(1 + 3 + 4 + 3);
    MethodState state = vera.initialState(1, base());
    assertThat(state).isEqualTo(vera.initialState(2, base()));
    assertThat(state.tensor("vera_A").shape()).containsExactly(3, 5);
    assertThat(state.tensor("vera_B").shape()).containsExactly(4, 3);
    float bound = (float) Math.sqrt(6.0 / 5);
    for (float entry : state.floats("vera_A")) {
      assertThat(entry).isBetween(-bound, bound);
    }
    ParameterVector trained =
        parameters(
            vera,
            Map.of(
                "x.a.vera_lambda_d", new float[] {1, 1, 1}, "x.a.vera_lambda_b", new float[] {1}));
    float[] a = state.floats("vera_A");
    float[] b = state.floats("vera_B");
    float expected = 0;
    for (int q = 0; q < 3; q++) {
      expected += b[q] * a[q * 5 + 1];
    }
    Map<String, float[]> fused =
        vera.fuse(trained, state, name -> new float[name.startsWith("x") ? 2 : 20]);
    assertThat(get(fused, "x.a.weight")[1]).isCloseTo(expected, CLOSE);
    AttachedMethod.Loaded loaded =
        vera.load(new AdapterTensors("saved", vera.save(trained, state)), base());
    assertThat(loaded.state()).isEqualTo(state);
    assertThat(vera.save(trained, state)).containsKeys("base_model.vera_A", "base_model.vera_B");
  }

  @Test
  void svfitMovesTheLargestSingularValue() {
    SvFit.Config config = new SvFit.Config(1, TARGET, List.of(), List.of());
    AttachedMethod svfit = new SvFit().attach(config, one(2, 2));
    float[] w = {3, 0, 4, 5};
    MethodState state = svfit.initialState(1, base(w));
    ParameterVector trained = parameters(svfit, Map.of("a.svfit_delta", new float[] {1}));
    float[] moved = {3.2236068f, 0.2236068f, 4.6708204f, 5.6708204f};
    assertThat(svfit.fuse(trained, state, base(w)).get("a.weight")).containsExactly(moved, CLOSE);
    assertThat(output(svfit, trained, state, w, new int[1], 1, -2))
        .containsExactly(times(moved, 1, -2), CLOSE);
    AttachedMethod.Loaded loaded =
        svfit.load(new AdapterTensors("saved", svfit.save(trained, state)), base(w));
    assertThat(loaded.state()).isEqualTo(state);
    assertAsLora(svfit, trained, state, one(2, 2), w);
    assertThatThrownBy(
            () -> new SvFit().attach(new SvFit.Config(3, TARGET, List.of(), List.of()), one(2, 9)))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("a has 2 singular values, got 3");
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void tuckerMultipliesThreeFactors(boolean frozen) {
    TuckerFlora.Config config =
        new TuckerFlora.Config(2, 2, 4, 0, frozen, TARGET, List.of(), List.of());
    AttachedMethod flora = new TuckerFlora().attach(config, one(3, 2));
    float[] p0 = {1, 0, 1, 1, 0, 1};
    float[] core = {1, 0, 2, 1};
    float[] p1 = {1, 1, 0, 2};
    MethodState state =
        frozen
            ? new MethodState.Builder()
                .floats("a.flora_P0", List.of(3, 2), p0)
                .floats("a.flora_P1", List.of(2, 2), p1)
                .build()
            : MethodState.EMPTY;
    Map<String, float[]> values = new LinkedHashMap<>(Map.of("a.flora_G", core));
    if (!frozen) {
      values.put("a.flora_P0", p0);
      values.put("a.flora_P1", p1);
    }
    assertThat(flora.shapes().keySet()).isEqualTo(values.keySet());
    ParameterVector trained = parameters(flora, values);
    float[] w = new float[6];
    float[] delta = {4, 16, 12, 0, 8, 8};
    assertThat(flora.fuse(trained, state, base(w)).get("a.weight")).containsExactly(delta);
    assertThat(output(flora, trained, state, w, new int[1], 1, 2, 3))
        .containsExactly(times(delta, 1, 2, 3));
    assertThat(flora.load(new AdapterTensors("saved", flora.save(trained, state)), base(w)).state())
        .isEqualTo(state);
    assertAsLora(flora, trained, state, one(3, 2), w);
    MethodState start = flora.initialState(1, base(w));
    ParameterVector untrained = parameters(flora, flora.initialValues(1, start, base(w)));
    assertThat(output(flora, untrained, start, w, new int[1], 1, 2, 3)).containsExactly(0, 0);
  }

  @Test
  void tuckerStartsWithTheDeviationOfItsRanks() {
    TuckerFlora.Config config =
        new TuckerFlora.Config(4, 8, 4, 0, false, TARGET, List.of(), List.of());
    AttachedMethod flora = new TuckerFlora().attach(config, one(500, 600));
    Map<String, float[]> values = flora.initialValues(1, MethodState.EMPTY, base());
    assertThat(deviation(get(values, "a.flora_P0"))).isCloseTo(Math.sqrt(1 / 8.0), offset(0.02));
    assertThat(deviation(get(values, "a.flora_P1"))).isCloseTo(0.25, offset(0.02));
    assertThat(ParameterLayout.of(flora.shapes()).size()).isEqualTo(4 * 500 + 8 * 600 + 4 * 8);
  }

  private static Offset<Double> offset(double value) {
    return Offset.offset(value);
  }

  private static float[] get(Map<String, float[]> values, String name) {
    return Objects.requireNonNull(values.get(name));
  }

  private static double deviation(float[] values) {
    double sum = 0;
    for (float value : values) {
      sum += (double) value * value;
    }
    return Math.sqrt(sum / values.length);
  }

  private static void assertAsLora(
      AttachedMethod method,
      ParameterVector trained,
      MethodState state,
      ModuleTree modules,
      float[] weight) {
    AttachedMethod.AsLora lora = method.asLora(trained, state).orElseThrow();
    LoraConfig config = lora.config();
    AttachedMethod plain = PeftMethods.attach(config, modules);
    AttachedMethod.Loaded loaded =
        plain.load(new AdapterTensors("as LoRA", lora.tensors()), base(weight));
    float[] fused =
        plain
            .fuse(parameters(plain, loaded.values()), loaded.state(), base(weight))
            .get("a.weight");
    assertThat(fused)
        .containsExactly(method.fuse(trained, state, base(weight)).get("a.weight"), CLOSE);
  }

  private static Dsee.Config dsee(int entries, String support, double pruneRatio) {
    return new Dsee.Config(
        1, 2, 0, entries, support, pruneRatio, 0.5, TARGET, List.of(), List.of());
  }

  @Test
  void dseeScalesBothParts() {
    AttachedMethod dsee = new Dsee().attach(dsee(1, "magnitude", 0), one(2, 2));
    float[] w = {1, 0, 0, 1};
    MethodState state =
        new MethodState.Builder()
            .integers("a.dsee_rows", List.of(1), new int[] {1})
            .integers("a.dsee_columns", List.of(1), new int[] {0})
            .build();
    ParameterVector trained =
        parameters(
            dsee,
            Map.of(
                "a.lora_A.weight", new float[] {0, 1},
                "a.lora_B.weight", new float[] {1, 0},
                "a.dsee_S", new float[] {0.5f}));
    assertThat(dsee.fuse(trained, state, base(w)).get("a.weight")).containsExactly(1, 2, 1, 1);
    assertThat(output(dsee, trained, state, w, new int[2], 1, 0, 0, 1)).containsExactly(1, 1, 2, 1);
    assertThat(dsee.load(new AdapterTensors("saved", dsee.save(trained, state)), base(w)).state())
        .isEqualTo(state);
    assertThat(ParameterLayout.of(dsee.shapes()).size()).isEqualTo(2 + 2 + 1);
  }

  @Test
  void dseeTrainsWhatTheSingularVectorsLeave() {
    float[] w = {9, 0, 0, 0, 1, 0, 0, 0, 2};
    int[] rest = SparseSupport.choose("decomposed", 1, w, 3, 3, 1, Philox.of(1, "t"));
    int[] largest = SparseSupport.choose("magnitude", 2, w, 3, 3, 1, Philox.of(1, "t"));
    int[] random = SparseSupport.choose("random", 9, w, 3, 3, 1, Philox.of(1, "t"));
    assertThat(rest).containsExactly(8);
    assertThat(largest).containsExactly(0, 8);
    assertThat(random).containsExactly(0, 1, 2, 3, 4, 5, 6, 7, 8);
  }

  @Test
  void dseePrunesHalfWayThrough() {
    float[] w = {4, -3, 2, -1};
    assertThat(SparseSupport.threshold(List.of("a"), base(w), 0.5)).isEqualTo(3);
    assertThat(SparseSupport.threshold(List.of("a"), base(w), 0.1)).isEqualTo(1);
    AttachedMethod dsee = new Dsee().attach(dsee(1, "magnitude", 0.5), one(2, 2));
    MethodState start = dsee.initialState(1, base(w));
    ParameterVector untrained = parameters(dsee, dsee.initialValues(1, start, base(w)));
    assertThat(output(dsee, untrained, start, w, new int[1], 1, 1)).containsExactly(1, 1);
    ParameterLayout layout = untrained.layout();
    StepObserver alone = dsee.observer(start, new TrainingSpan(4, 0, 1, true), layout);
    assertThat(alone.afterStep(update(0, layout))).isEmpty();
    MethodState pruned = alone.afterStep(update(1, layout)).orElseThrow();
    assertThat(output(dsee, untrained, pruned, w, new int[1], 1, 1)).containsExactly(1, 0);
    assertThat(dsee.fuse(untrained, pruned, base(w)).get("a.weight")).containsExactly(4, -3, 0, 0);
    assertThat(dsee.observer(start, new TrainingSpan(4, 0, 1, false), layout))
        .isSameAs(StepObserver.NONE);
    assertThat(decided(dsee, start, untrained, 4)).isEqualTo(start);
    assertThat(decided(dsee, start, untrained, 5)).isEqualTo(pruned);
  }

  private static MethodState decided(
      AttachedMethod method, MethodState state, ParameterVector parameters, int round) {
    return method.decide(state, new RoundDecision.Input(round, 10, Map.of(), parameters)).state();
  }

  private static StepObserver.Update update(int number, ParameterLayout layout) {
    float[] none = new float[layout.size()];
    return new StepObserver.Update(
        number, layout, none, none, Map.of(), 1, (index, first, second, age) -> {});
  }

  private static MtLora.Config mtLora(String mode) {
    return new MtLora.Config(1, 1, 2, mode, 1, 2, 0, List.of(), TARGET, List.of(), List.of());
  }

  @Test
  void mtloraGivesEachExampleTheFactorsOfItsTask() {
    float[] w = {1, 0, 0, 1};
    for (String mode : List.of("matrix", "matrixv2")) {
      AttachedMethod mtlora = new MtLora().attach(mtLora(mode), one(2, 2));
      Map<String, float[]> values = new LinkedHashMap<>();
      values.put("a.task_lora_A", new float[] {5, 5, 1, 0});
      values.put("a.task_lora_B", new float[] {0, 0, 0, 1});
      if (mode.equals("matrixv2")) {
        values.put("a.lora_A.weight", new float[] {0, 1});
        values.put("a.lora_B.weight", new float[] {1, 0});
      }
      assertThat(mtlora.shapes().keySet()).isEqualTo(values.keySet());
      float[] y =
          output(
              mtlora,
              parameters(mtlora, values),
              MethodState.EMPTY,
              w,
              new int[] {1, 0},
              1,
              2,
              1,
              2);
      assertThat(y)
          .isEqualTo(mode.equals("matrix") ? new float[] {1, 4, 1, 2} : new float[] {3, 4, 3, 2});
    }
  }

  @Test
  void mtloraKeepsTaskFactorsToTheLastLayer() {
    ModuleTree modules =
        new ModuleTree(
            List.of(ModuleSpec.linear("l.0.x.a", 2, 2), ModuleSpec.linear("l.1.x.a", 2, 2)));
    AttachedMethod mtlora = new MtLora().attach(mtLora("matrix"), modules);
    assertThat(mtlora.shapes().keySet())
        .containsExactlyInAnyOrder(
            "l.0.x.a.lora_A.weight",
            "l.0.x.a.lora_B.weight",
            "l.1.x.a.task_lora_A",
            "l.1.x.a.task_lora_B");
    assertThat(mtlora.whyNotFused()).contains("each task has weights of its own");
    AttachedMethod single = new MtLora().attach(mtLora("matrix"), one(2, 2));
    ParameterVector start = parameters(single, single.initialValues(1, MethodState.EMPTY, base()));
    assertThat(output(single, start, MethodState.EMPTY, new float[] {1, 2, 3, 4}, new int[1], 1, 1))
        .containsExactly(3, 7);
    assertThatThrownBy(
            () -> output(single, start, MethodState.EMPTY, new float[4], new int[] {2}, 1, 1))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("of task 2; the adapter has tasks 0..1; set tasks to at least 3");
  }

  @Test
  void qloraIsLoraOnABaseThatItAsksFor() {
    QLora.Config config = new QLora.Config(1, 1, 0, 32, false, TARGET, List.of(), List.of());
    assertThat(PeftMethods.baseForm(config, WeightForm.FLOAT32))
        .isEqualTo(WeightForm.nf4(32, false))
        .isEqualTo(PeftMethods.baseForm(config, WeightForm.named("nf4")));
    assertThatThrownBy(() -> PeftMethods.baseForm(config, WeightForm.named("bfloat16")))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("model.dtype")
        .hasMessageContaining("bfloat16 does not go with peft_type QLORA")
        .hasMessageContaining("set nf4");
    AttachedMethod qlora = new QLora().attach(config, one(2, 2));
    assertThat(qlora.initialState(1, base(1, 2, 3, 4))).isEqualTo(MethodState.EMPTY);
    assertThat(qlora.shapes()).containsOnlyKeys("a.lora_A.weight", "a.lora_B.weight");
    assertThatThrownBy(() -> new QLora.Config(1, 1, 0, 48, true, TARGET, List.of(), List.of()))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("blocksize");
  }

  @Test
  void configurationsSurviveTheFileFormatAndRefuseNonsense() {
    for (var config :
        List.of(
            new Vera().defaults(),
            new SvFit().defaults(),
            new TuckerFlora().defaults(),
            new Dsee().defaults(),
            new MtLora().defaults(),
            new QLora().defaults())) {
      Map<String, Object> fields = new LinkedHashMap<>(PeftMethods.writeConfig(config));
      fields.put("modules_to_save", config.modulesToSave());
      assertThat(PeftMethods.readConfig(fields).toString())
          .contains(config.toString().replaceAll(", modulesToSave.*", ""));
    }
    assertThatThrownBy(() -> new Vera.Config(8, TARGET, 0, false, 0, 0.1, List.of(), List.of()))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("save_projection");
    assertThatThrownBy(() -> dsee(0, "magnitude", 0))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("sparse_entries");
    assertThatThrownBy(() -> new Dsee().attach(dsee(5, "magnitude", 0), one(2, 2)))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("a has 4 entries, got 5");
    assertThatThrownBy(() -> mtLora("addition"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("matrixv2");
  }
}
