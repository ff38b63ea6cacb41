package org.sparkpeft.core.peft.additive;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.Probes;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;

class BottleneckTest {
  private static BottleneckConfig config(
      String type, int reduction, String function, double scaling) {
    return new BottleneckConfig(
        type, reduction, function, scaling, "lora", 0, List.of(), List.of());
  }

  /** W_d = [[1, -1]], W_u = [1, 2]t, b_u = (.5, 0) for every adapter. */
  private static Map<String, float[]> worked(AttachedMethod method) {
    Map<String, float[]> values =
        new HashMap<>(method.initialValues(1, MethodState.EMPTY, n -> new float[0]));
    method
        .shapes()
        .keySet()
        .forEach(
            name -> {
              if (name.endsWith("adapter_down.weight")) {
                values.put(name, new float[] {1, -1});
              } else if (name.endsWith("adapter_up.weight")) {
                values.put(name, new float[] {1, 2});
              } else if (name.endsWith("adapter_up.bias")) {
                values.put(name, new float[] {0.5f, 0});
              }
            });
    return values;
  }

  private static float[] last(String type, double scaling, float[] x, float[] f) {
    AttachedMethod method =
        TinyModel.attach(config(type, 2, "relu", scaling), TinyModel.bert(1, 2, 3, 5));
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      MethodTensors tensors = TinyModel.tensors(manager, method, worked(method), MethodState.EMPTY);
      List<Modification> all = method.modifications(tensors, TinyModel.context(manager));
      Shape shape = new Shape(1, 1, 2);
      NDArray stream = manager.create(x, shape);
      return TinyModel.residual(all.get(all.size() - 1), stream, manager.create(f, shape));
    }
  }

  @Test
  void workedExampleInEveryPosition() {
    float[] zero = {0, 0};
    // A(3,1) = (2.5, 4), A(1,3) = (.5, 0)
    assertThat(last("HOULSBY", 1, zero, new float[] {3, 1})).containsExactly(5.5f, 5);
    assertThat(last("HOULSBY", 1, zero, new float[] {1, 3})).containsExactly(1.5f, 3);
    assertThat(last("HOULSBY", 1, new float[] {10, 20}, new float[] {3, 1}))
        .as("reads the block's output only")
        .containsExactly(15.5f, 25);
    assertThat(last("PFEIFFER", 1, new float[] {2, 0}, new float[] {1, 1}))
        .as("reads the normed sum and is added before the norm again")
        .containsExactly(5.5f, 5);
    assertThat(last("PARALLEL_ADAPTER", 4, new float[] {3, 1}, new float[] {7, 7}))
        .as("reads the block's input, four times")
        .containsExactly(3 + 7 + 10, 1 + 7 + 16);
    assertThat(last("ADAPTER_PLUS", 2, new float[] {2, 0}, new float[] {1, 1}))
        .as("a trained scale that starts at the given one")
        .containsExactly(3 + 5, 1 + 8);
    assertThat(last("SC_TUNER", 1, new float[] {3, 1}, new float[] {7, 7}))
        .containsExactly(5.5f + 7, 5 + 7);
  }

  /** W_d = I, W_u = [[.5, 0], [0, 2]], GELU, x = (1, -1). */
  @Test
  void skipTunerWorkedExample() {
    AttachedMethod method =
        TinyModel.attach(config("SC_TUNER", 1, "gelu", 1), TinyModel.bert(1, 2, 3, 5));
    Map<String, float[]> values = worked(method);
    values.replaceAll(
        (name, old) ->
            name.endsWith("down.weight")
                ? new float[] {1, 0, 0, 1}
                : name.endsWith("up.weight") ? new float[] {0.5f, 0, 0, 2} : new float[2]);
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      MethodTensors tensors = TinyModel.tensors(manager, method, values, MethodState.EMPTY);
      NDArray x = manager.create(new float[] {1, -1}, new Shape(1, 1, 2));
      float[] out =
          TinyModel.residual(
              method.modifications(tensors, TinyModel.context(manager)).get(0), x, x.zerosLike());
      assertThat(out[0]).isCloseTo(1.4206724f, within(1e-6f));
      assertThat(out[1]).isCloseTo(-1.3173105f, within(1e-6f));
    }
  }

  @ParameterizedTest
  @CsvSource({"HOULSBY,1789056", "PFEIFFER,894528", "PARALLEL_ADAPTER,894528"})
  void bertBaseParameters(String type, long expected) {
    ModuleTree base = TinyModel.bert(12, 768, 3072, 10);
    assertThat(TinyModel.parameters(TinyModel.attach(config(type, 16, "relu", 1), base)))
        .isEqualTo(expected);
  }

  @ParameterizedTest
  @ValueSource(strings = {"bert", "houlsby"})
  void startsNearTheIdentity(String start) {
    Bottleneck adapter = new Bottleneck("a", 64, 8);
    Map<String, float[]> values = adapter.initialValues(3, start);
    double bound = start.equals("houlsby") ? 0.02 : 0.2;
    for (String name : List.of(adapter.down(), adapter.up())) {
      double sum = 0;
      for (float value : TinyModel.of(values, name)) {
        assertThat(Math.abs(value)).isLessThanOrEqualTo((float) bound);
        sum += value * value;
      }
      double expected = start.equals("houlsby") ? 0.0088 : 0.02; // cut at two deviations
      assertThat(Math.sqrt(sum / 512)).isCloseTo(expected, within(0.1 * expected));
    }
  }

  @Test
  void examplesSkipTheAdapterInTrainingOnly() {
    BottleneckConfig config =
        new BottleneckConfig("PFEIFFER", 2, "relu", 1, "lora", 0.5, List.of(0), List.of());
    AttachedMethod method = TinyModel.attach(config, TinyModel.bert(2, 2, 3, 5));
    assertThat(method.shapes()).hasSize(4);
    int rows = 400;
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      MethodTensors tensors = TinyModel.tensors(manager, method, worked(method), MethodState.EMPTY);
      TuningContext training =
          new TuningContext(
              manager,
              true,
              Philox.of(5, "step"),
              TokenBatch.of(List.of(new int[] {1}), 0),
              Probes.none(),
              new java.util.ArrayList<>());
      NDArray f =
          manager.create(new float[] {3, 1}, new Shape(1, 1, 2)).broadcast(rows, 1, 2).duplicate();
      float[] out =
          TinyModel.residual(method.modifications(tensors, training).get(0), f.zerosLike(), f);
      int skipped = 0;
      for (int row = 0; row < rows; row++) {
        assertThat(out[2 * row]).isIn(3f, 3 + 2 * 2.5f);
        skipped += out[2 * row] == 3 ? 1 : 0;
      }
      assertThat(skipped).isBetween(160, 240);
    }
  }

  @Test
  void configurationsOfOneRecordKeepTheirType() {
    for (String type : List.of("HOULSBY", "PFEIFFER", "PARALLEL_ADAPTER", "ADAPTER_PLUS")) {
      BottleneckConfig config = config(type, 3, "swish", 2);
      Map<String, Object> fields = new LinkedHashMap<>(PeftMethods.writeConfig(config));
      assertThat(fields).containsEntry("peft_type", type).containsEntry("reduction_factor", 3);
      assertThat(PeftMethods.readConfig(fields))
          .isEqualTo(
              new BottleneckConfig(
                  type, 3, "swish", 2, "lora", 0, List.of(), List.of("classifier")));
    }
  }

  @Test
  void namesWhatIsWrong() {
    assertThatThrownBy(() -> config("PFEIFFER", 0, "sin", 0))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("reduction_factor")
        .hasMessageContaining("non_linearity")
        .hasMessageContaining("scaling");
    ModuleTree flat = new ModuleTree(List.of(ModuleSpec.linear("a", 2, 2)));
    assertThatThrownBy(() -> TinyModel.attach(config("PFEIFFER", 2, "relu", 1), flat))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("transformer layers");
    BottleneckConfig layers =
        new BottleneckConfig("PFEIFFER", 2, "relu", 1, "lora", 0, List.of(7), List.of());
    assertThatThrownBy(() -> TinyModel.attach(layers, TinyModel.bert(2, 2, 3, 5)))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("2 layers")
        .hasMessageContaining("7");
  }
}
