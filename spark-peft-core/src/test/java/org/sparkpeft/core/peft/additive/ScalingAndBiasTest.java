package org.sparkpeft.core.peft.additive;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.Tuning;
import org.sparkpeft.core.nn.LayerNorm;
import org.sparkpeft.core.nn.Linear;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.ModifiedForward;
import org.sparkpeft.core.peft.PeftConfig;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.TargetModules;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;

/** Methods that scale or shift what the base's own layers give: IA3, SSF, BitFit, norm tuning. */
class ScalingAndBiasTest {
  private static final float[] W = {1, 2, 3, 4};
  private static final float[] B = {0.5f, 1};
  private static final BaseWeights BASE = name -> name.endsWith("bias") ? B : W;

  private static AttachedMethod on(PeftConfig config) {
    return PeftMethods.attach(
        config,
        new ModuleTree(List.of(ModuleSpec.linear("a", 2, 2), ModuleSpec.layerNorm("n", 2))));
  }

  private static ParameterVector values(AttachedMethod method, float... flat) {
    return ParameterVector.of(ParameterLayout.of(method.shapes()), flat);
  }

  private static float[] linear(AttachedMethod method, ParameterVector parameters, float... x) {
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      Tuning tuning = tuning(manager, method, parameters);
      Linear layer =
          new Linear("a", manager.create(W, new Shape(2, 2)), manager.create(B, new Shape(2)));
      return tuning.linear(layer, manager.create(x, new Shape(1, 2))).toFloatArray();
    }
  }

  private static Tuning tuning(
      NDManager manager, AttachedMethod method, ParameterVector parameters) {
    Map<String, float[]> tensors = new LinkedHashMap<>();
    method.shapes().keySet().forEach(name -> tensors.put(name, parameters.tensor(name)));
    return ModifiedForward.of(
        method.modifications(
            TinyModel.tensors(manager, method, tensors, MethodState.EMPTY),
            TinyModel.context(manager)));
  }

  private static Ia3.Config ia3(List<String> feedforward) {
    return new Ia3.Config(TargetModules.of("a"), List.of(), feedforward, true, List.of());
  }

  @Test
  void ia3WorkedExample() {
    AttachedMethod output = on(ia3(List.of()));
    assertThat(output.shapes()).isEqualTo(Map.of("a.ia3_l", List.of(2, 1)));
    ParameterVector l = values(output, 2, 0.5f);
    assertThat(output.fuse(l, MethodState.EMPTY, BASE))
        .containsEntry("a.weight", new float[] {2, 4, 1.5f, 2})
        .containsEntry("a.bias", new float[] {1, 0.5f})
        .hasSize(2);
    assertThat(linear(output, l, 1, 1)).containsExactly(7, 4);

    AttachedMethod input = on(ia3(List.of("a")));
    assertThat(input.shapes()).isEqualTo(Map.of("a.ia3_l", List.of(1, 2)));
    l = values(input, 2, 0.5f);
    assertThat(input.fuse(l, MethodState.EMPTY, BASE))
        .containsEntry("a.weight", new float[] {2, 1, 6, 2})
        .hasSize(1);
    assertThat(linear(input, l, 1, 1)).containsExactly(3.5f, 9);
  }

  @Test
  void ia3ReadsFeedForwardModulesAsHuggingFaceDoes() {
    ModuleTree bert = TinyModel.bert(2, 4, 6, 9);
    Ia3.Config names = new Ia3().defaults();
    assertThat(TinyModel.attach(names, bert).shapes())
        .containsEntry("bert.encoder.layer.0.attention.output.dense.ia3_l", List.of(1, 4))
        .containsEntry("bert.encoder.layer.1.output.dense.ia3_l", List.of(1, 6))
        .containsEntry("bert.encoder.layer.1.attention.self.key.ia3_l", List.of(4, 1))
        .hasSize(8);
    Map<String, Object> fields = new LinkedHashMap<>();
    fields.put("peft_type", "IA3");
    fields.put("target_modules", ".*(key|output\\.dense)");
    fields.put("feedforward_modules", ".*layer\\.\\d\\.output\\.dense");
    fields.put("exclude_modules", ".*layer\\.1\\.attention.*");
    fields.put("fan_in_fan_out", false);
    PeftConfig read = PeftMethods.readConfig(fields);
    assertThat(TinyModel.attach(read, bert).shapes())
        .containsEntry("bert.encoder.layer.0.attention.output.dense.ia3_l", List.of(4, 1))
        .containsEntry("bert.encoder.layer.1.output.dense.ia3_l", List.of(1, 6))
        .hasSize(4);
    assertThat(PeftMethods.writeConfig(read)).containsAllEntriesOf(fields);
    assertThat(PeftMethods.writeConfig(ia3(List.of())))
        .containsEntry("feedforward_modules", List.of())
        .containsEntry("exclude_modules", null);
    assertThatThrownBy(() -> ia3(List.of("b")))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("feedforward_modules");
  }

  @Test
  void ssfWorkedExample() {
    AttachedMethod ssf =
        on(new Ssf.Config(TargetModules.of("a", "n"), List.of(), "identity", List.of()));
    assertThat(ssf.initialValues(1, MethodState.EMPTY, BASE))
        .containsEntry("n.ssf_scale", new float[] {1, 1})
        .containsEntry("n.ssf_shift", new float[] {0, 0});
    ParameterVector p = values(ssf, 2, 0.5f, 0.1f, -0.2f, 3, 4, 5, 6);
    float[] y = linear(ssf, p, 1, -1);
    assertThat(y[0]).isCloseTo(-0.9f, within(1e-6f));
    assertThat(y[1]).isCloseTo(-0.2f, within(1e-6f));
    Map<String, float[]> fused =
        ssf.fuse(p, MethodState.EMPTY, name -> name.startsWith("n.") ? B : BASE.tensor(name));
    assertThat(fused.get("a.weight")).containsExactly(2, 4, 1.5f, 2);
    assertThat(fused.get("a.bias")).containsExactly(new float[] {1.1f, 0.3f}, within(1e-6f));
    assertThat(fused.get("n.weight")).containsExactly(1.5f, 4);
    assertThat(fused.get("n.bias")).containsExactly(6.5f, 10);
    assertThat(ssf.role("a.ssf_scale").decayed()).isFalse();
  }

  @Test
  void ssfOfAVisionTransformerBlock() {
    // without the patch embedding: 12 blocks of 16 896, and the norm in front
    ModuleTree bert = TinyModel.bert(12, 768, 3072, 10);
    AttachedMethod ssf =
        TinyModel.attach(
            new Ssf.Config(
                new TargetModules(List.of(), ".*encoder.*|.*embeddings.LayerNorm"),
                List.of(),
                "normal",
                List.of()),
            bert);
    assertThat(TinyModel.parameters(ssf)).isEqualTo(12 * 16_896 + 1536);
    float[] scale =
        TinyModel.of(
            ssf.initialValues(1, MethodState.EMPTY, BASE), "bert.embeddings.LayerNorm.ssf_scale");
    double mean = 0;
    for (float s : scale) {
      mean += s / scale.length;
      assertThat(s).isBetween(0.88f, 1.12f);
    }
    assertThat(mean).isCloseTo(1, within(0.003));
  }

  @Test
  void bitFitTrainsEveryBiasOfBertBase() {
    AttachedMethod all =
        TinyModel.attach(new BitFit().defaults(), TinyModel.bert(12, 768, 3072, 10));
    assertThat(TinyModel.parameters(all)).isEqualTo(102_912);
    AttachedMethod some =
        TinyModel.attach(
            new BitFit.Config(
                TargetModules.of("query", "intermediate.dense"), List.of(), List.of()),
            TinyModel.bert(2, 4, 6, 9));
    assertThat(TinyModel.parameters(some)).isEqualTo(2 * (4 + 6));
  }

  @Test
  void bitFitReplacesBiasesAndNothingElse() {
    AttachedMethod bias = on(new BitFit.Config(TargetModules.of("a", "n"), List.of(), List.of()));
    assertThat(bias.initialValues(1, MethodState.EMPTY, BASE))
        .containsEntry("a.bitfit_bias", B)
        .containsEntry("n.bitfit_bias", B);
    ParameterVector p = values(bias, 10, 20, 30, 40);
    assertThat(linear(bias, p, 1, -1)).containsExactly(9, 19);
    assertThat(bias.fuse(p, MethodState.EMPTY, BASE))
        .containsEntry("a.bias", new float[] {10, 20})
        .containsEntry("n.bias", new float[] {30, 40})
        .hasSize(2);
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      NDArray two = manager.create(new float[] {2, 2});
      LayerNorm norm = new LayerNorm("n", two, two, 0);
      NDArray x = manager.create(new float[] {1, 3}, new Shape(1, 2));
      assertThat(tuning(manager, bias, p).layerNorm(norm, x).toFloatArray())
          .containsExactly(28, 42);
    }
  }

  @Test
  void normTuningTrainsOtherLayersTooIfNamed() {
    AttachedMethod tuning =
        on(new LnTuning.Config(TargetModules.of("a", "n"), List.of(), List.of()));
    assertThat(tuning.shapes().keySet())
        .containsExactly(
            "a.ln_tuning_layers.weight",
            "a.ln_tuning_layers.bias",
            "n.ln_tuning_layers.weight",
            "n.ln_tuning_layers.bias");
    ParameterVector p = values(tuning, 5, 6, 1, 0, 0, 1, 4, 5, 2, 3);
    assertThat(linear(tuning, p, 1, -1)).containsExactly(6, 5);
    assertThat(tuning.fuse(p, MethodState.EMPTY, BASE))
        .containsEntry("n.weight", new float[] {2, 3})
        .containsEntry("a.bias", new float[] {5, 6})
        .hasSize(4);
  }
}
