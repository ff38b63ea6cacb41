package org.sparkpeft.core.peft.sharing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.StepObserver;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.peft.TrainingSpan;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

class S2LoraTest {
  private static final BaseWeights NO_BASE = name -> new float[0];

  private static S2Lora.Config config(int r, double l1, double threshold, String saveAs) {
    TargetModules targets = TargetModules.of("a", "b", "c");
    return new S2Lora.Config(r, l1, threshold, 1, targets, List.of(), saveAs);
  }

  private static ModuleTree modules() {
    return new ModuleTree(
        List.of(
            ModuleSpec.linear("0.a", 3, 2),
            ModuleSpec.linear("1.b", 3, 2),
            ModuleSpec.linear("1.c", 2, 3)));
  }

  private static AttachedMethod attach(S2Lora.Config config) {
    return new S2Lora().attach(config, modules());
  }

  private static Map<String, float[]> trained(AttachedMethod method) {
    Map<String, float[]> values =
        new HashMap<>(method.initialValues(1, MethodState.EMPTY, NO_BASE));
    values.put("0.a.s2_lora_E", new float[] {1, -0.25f});
    values.put("1.b.s2_lora_E", new float[] {0, 0.5f});
    values.put("1.c.s2_lora_E", new float[] {-2, 0.75f});
    return values;
  }

  private static Bench.Layer[] layers() {
    return new Bench.Layer[] {
      new Bench.Layer("0.a", 2, Bench.random(6, 1), Bench.random(15, 4), 1, 5, 3),
      new Bench.Layer("1.b", 2, Bench.random(6, 2), Bench.random(15, 5), 1, 5, 3),
      new Bench.Layer("1.c", 3, Bench.random(6, 3), Bench.random(10, 6), 1, 5, 2)
    };
  }

  @Test
  void workedExample() {
    AttachedMethod method = attach(config(2, 0, 0, "own"));
    Map<String, float[]> values =
        Map.of(
            "s2_lora_A.2x3", new float[] {1, 0, 1, 0, 1, 0},
            "s2_lora_B.2x3", new float[] {1, 0, 0, 1},
            "0.a.s2_lora_E", new float[] {1, 0},
            "1.b.s2_lora_E", new float[] {0, .5f},
            "s2_lora_A.3x2", new float[4],
            "s2_lora_B.3x2", new float[6],
            "1.c.s2_lora_E", new float[2]);
    ParameterVector parameters = Bench.vector(method, values);
    Map<String, float[]> fused = method.fuse(parameters, MethodState.EMPTY, name -> new float[6]);
    assertThat(fused.get("0.a.weight")).containsExactly(1, 0, 1, 0, 0, 0);
    assertThat(fused.get("1.b.weight")).containsExactly(0, 0, 0, 0, .5f, 0);
  }

  @Test
  void onePairForEachShapeAndOneVectorForEachLayer() {
    assertThat(Bench.parameters(attach(config(2, 0, 0, "own")))).isEqualTo(2 * 2 * 5 + 3 * 2);
  }

  @Test
  void startsAsTheBaseAndCoefficientsLearnFirst() {
    AttachedMethod method = attach(config(2, 0, 0, "own"));
    Map<String, float[]> start = method.initialValues(3, MethodState.EMPTY, NO_BASE);
    Bench.Layer layer = layers()[0];
    Bench.Pass pass = Bench.train(method, start, MethodState.EMPTY, Bench.batch(1, 5), layer);
    assertThat(pass.gradients().get("0.a.s2_lora_E")).doesNotContain(0);
    assertThat(pass.gradients().get("s2_lora_A.2x3")).containsOnly(0);
    assertThat(
            method
                .fuse(Bench.vector(method, start), MethodState.EMPTY, name -> layer.weight())
                .get("0.a.weight"))
        .isEqualTo(layer.weight());
  }

  @Test
  void penaltyIsTheSumOfSizes() {
    AttachedMethod method = attach(config(2, 0.1, 0, "own"));
    Map<String, float[]> values = trained(method);
    Bench.Pass with = Bench.train(method, values, MethodState.EMPTY, Bench.batch(1, 5), layers());
    Bench.Pass without =
        Bench.train(
            attach(config(2, 0, 0, "own")), values, MethodState.EMPTY, Bench.batch(1, 5), layers());
    assertThat(with.extra()).isCloseTo(0.1 * 4.5, within(1e-6));
    assertThat(without.extra()).isEqualTo(0);
    float[] change = Bench.get(with.gradients(), "1.b.s2_lora_E").clone();
    float[] plain = Bench.get(without.gradients(), "1.b.s2_lora_E");
    assertThat(change[0]).as("no pull at 0").isCloseTo(plain[0], Offset.offset(1e-6f));
    assertThat(change[1] - plain[1]).isCloseTo(0.1f, Offset.offset(1e-6f));
  }

  @Test
  void fusedIsUnfusedWithAndWithoutThreshold() {
    for (double threshold : new double[] {0, 0.4}) {
      AttachedMethod method = attach(config(2, 0, threshold, "own"));
      Map<String, float[]> values = trained(method);
      assertThat(Bench.unfused(method, values, MethodState.EMPTY, Bench.batch(1, 5), layers()))
          .isLessThan(1e-6);
    }
    AttachedMethod cut = attach(config(2, 0, 0.4, "own"));
    Map<String, float[]> values = trained(cut);
    Map<String, float[]> zeroed = new HashMap<>(values);
    zeroed.put("0.a.s2_lora_E", new float[] {1, 0});
    assertThat(cut.fuse(Bench.vector(cut, values), MethodState.EMPTY, name -> new float[6]))
        .usingRecursiveComparison()
        .isEqualTo(
            attach(config(2, 0, 0, "own"))
                .fuse(Bench.vector(cut, zeroed), MethodState.EMPTY, name -> new float[6]));
  }

  @Test
  void savesAsAnOrdinaryLora() {
    AttachedMethod method = attach(config(2, 0, 0, "lora"));
    Map<String, float[]> values = trained(method);
    LoraConfig config = (LoraConfig) PeftMethods.readConfig(method.savedFields(MethodState.EMPTY));
    AttachedMethod lora = PeftMethods.attach(config, modules());
    Map<String, float[]> expanded =
        lora.load(
                new AdapterTensors(
                    "test", method.save(Bench.vector(method, values), MethodState.EMPTY)),
                NO_BASE)
            .values();
    List<float[]> ours =
        Bench.infer(method, values, MethodState.EMPTY, Bench.batch(1, 5), layers()).outputs();
    List<float[]> theirs =
        Bench.infer(lora, expanded, MethodState.EMPTY, Bench.batch(1, 5), layers()).outputs();
    for (int i = 0; i < 3; i++) {
      assertThat(theirs.get(i)).containsExactly(ours.get(i), Offset.offset(1e-6f));
    }
  }

  @Test
  void holdsFactorsAfterAShareOfTheTraining() {
    S2Lora.Config config =
        new S2Lora.Config(1, 0, 0, 0.5, TargetModules.of("0.a"), List.of(), "own");
    AttachedMethod method = attach(config);
    ParameterLayout layout = ParameterLayout.of(method.shapes());
    // The second of two rounds, ten updates in all: the factors are held from the first on.
    TrainingSpan late = new TrainingSpan(5, 0.5, 1, false);
    TrainingSpan whole = new TrainingSpan(10, 0, 1, true);
    assertThat(steps(method.observer(MethodState.EMPTY, late, layout), layout, 5)).isEqualTo(0);
    assertThat(steps(method.observer(MethodState.EMPTY, whole, layout), layout, 10)).isEqualTo(5);
  }

  /** How often A moved when every entry moves by 1 in each step; E must have moved always. */
  private static float steps(StepObserver observer, ParameterLayout layout, int updates) {
    float[] parameters = new float[layout.size()];
    for (int i = 0; i < updates; i++) {
      StepObserver.Update update =
          new StepObserver.Update(
              i, layout, parameters, new float[parameters.length], Map.of(), 1, (a, b, c, d) -> {});
      observer.beforeStep(update);
      for (int p = 0; p < parameters.length; p++) {
        parameters[p] += 1;
      }
      observer.afterStep(update);
    }
    ParameterVector after = ParameterVector.of(layout, parameters);
    assertThat(after.tensor("0.a.s2_lora_E")).containsOnly(updates);
    assertThat(after.tensor("s2_lora_B.2x3")).containsOnly(after.tensor("s2_lora_A.2x3")[0]);
    return after.tensor("s2_lora_A.2x3")[2];
  }

  @Test
  void refusesWhatCannotBe() {
    assertThatThrownBy(() -> new S2Lora.Config(0, -1, -1, 0, TargetModules.of("a"), List.of(), "x"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("r:")
        .hasMessageContaining("l1_weight")
        .hasMessageContaining("threshold")
        .hasMessageContaining("freeze_factors_after")
        .hasMessageContaining("save_as");
  }
}
