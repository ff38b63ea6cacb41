package org.sparkpeft.core.peft.additive;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.engine.ComputeDevice;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.MethodTensors;
import org.sparkpeft.core.peft.Modification;
import org.sparkpeft.core.peft.Probes;
import org.sparkpeft.core.peft.TuningContext;
import org.sparkpeft.core.random.Philox;

/** Connected modules, sparse experts and the Conformer adapter. */
class SideModulesTest {
  private static final BaseWeights NONE =
      name -> {
        throw new IllegalStateException("reads " + name);
      };

  private static TuningContext training(NDManager manager, long seed) {
    return new TuningContext(
        manager,
        true,
        Philox.of(seed, "step"),
        TokenBatch.of(List.of(new int[] {1}), 0),
        Probes.none(),
        new ArrayList<>());
  }

  /** Two channels, of which the norm makes (1, -1) when the first is larger. */
  @Test
  void connectedModulesCarryTheirValueOn() {
    AttachedMethod method =
        TinyModel.attach(new Iaa.Config(2, "relu", List.of()), TinyModel.bert(2, 2, 3, 5));
    Map<String, float[]> values = new HashMap<>();
    method
        .shapes()
        .forEach(
            (name, shape) ->
                values.put(name, new float[shape.stream().reduce(1, Math::multiplyExact)]));
    // a_0 = 2 x_0 (1, 0); module i adds 3 relu(LN(h + a)_0) (0, 1)
    values.put("iaa_entry.adapter_down.weight", new float[] {1, 0});
    values.put("iaa_entry.adapter_up.weight", new float[] {2, 0});
    for (int i = 0; i < 2; i++) {
      String at = "bert.encoder.layer." + i + ".output.dense.";
      values.put(at + "adapter_down.weight", new float[] {1, 0});
      values.put(at + "adapter_up.weight", new float[] {0, 3});
      values.put(at + "iaa_gate", new float[] {0.5f});
    }
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      MethodTensors tensors = TinyModel.tensors(manager, method, values, MethodState.EMPTY);
      List<Modification> all = method.modifications(tensors, TinyModel.context(manager));
      Shape shape = new Shape(1, 1, 2);
      NDArray x = manager.create(new float[] {4, 1}, shape);
      NDArray zero = x.zerosLike();
      assertThat(TinyModel.residual(all.get(0), x, zero)).containsExactly(4, 1);
      // a_0 = (8, 0), read LN(12, 1) = (1, -1), a_1 = (8, 3)
      assertThat(TinyModel.residual(all.get(1), x, zero))
          .containsExactly(new float[] {8, 2.5f}, within(1e-4f));
      // read LN(12, 4) = (1, -1), a_2 = (8, 6)
      assertThat(TinyModel.residual(all.get(2), x, zero))
          .containsExactly(new float[] {8, 4}, within(1e-4f));
    }
  }

  /** Start 1, steps of +.1 on the entries of each expert. */
  @Test
  void expertsOwnDisjointEntries() {
    ModuleTree tree = TinyModel.bert(1, 2, 3, 5);
    for (String merge : List.of("sum", "add")) {
      Mosa.Config config = new Mosa.Config(2, 2, "relu", 1, 0, true, merge, List.of());
      AttachedMethod method = TinyModel.attach(config, tree);
      String up = "bert.encoder.layer.0.output.dense.adapter_up.weight";
      MethodState drawn = method.initialState(3, NONE);
      assertThat(drawn).isEqualTo(method.initialState(3, NONE));
      int[] owner = drawn.integers(up + ".mosa_owner");
      assertThat(Arrays.stream(owner).filter(e -> e == 0).count()).isEqualTo(2);
      MethodState state =
          drawn.with(
              new MethodState.Builder()
                  .floats(up + ".mosa_start", List.of(2, 2), new float[] {1, 1, 1, 1})
                  .integers(up + ".mosa_owner", List.of(2, 2), new int[] {0, 0, 1, 1})
                  .build());
      Map<String, float[]> values = new HashMap<>(method.initialValues(3, state, NONE));
      values.put(up, new float[] {1.1f, 1.1f, 1.1f, 1.1f});
      values.put("bert.encoder.layer.0.output.dense.adapter_down.weight", new float[] {1, 0, 0, 1});
      try (NDManager manager = ComputeDevice.cpu().newManager()) {
        MethodTensors tensors = TinyModel.tensors(manager, method, values, state);
        NDArray x = manager.create(new float[] {1, 0}, new Shape(1, 1, 2));
        int seen = 0;
        for (long seed = 0; seed < 12; seed++) {
          float[] out =
              TinyModel.residual(
                  method.modifications(tensors, training(manager, seed)).get(0), x, x.zerosLike());
          boolean first = out[0] > 2.05f;
          assertThat(out)
              .as("rows of W_u belong to one expert each")
              .containsExactly(new float[] {first ? 2.1f : 2, first ? 1 : 1.1f}, within(1e-6f));
          seen |= first ? 1 : 2;
        }
        assertThat(seen).as("both experts take part").isEqualTo(3);
        float merged = merge.equals("sum") ? 1.1f : 1.05f;
        assertThat(
                TinyModel.residual(
                    method.modifications(tensors, TinyModel.context(manager)).get(0),
                    x,
                    x.zerosLike()))
            .containsExactly(new float[] {1 + merged, merged}, within(1e-6f));
      }
    }
  }

  @Test
  void conformerAdapterCountsAndMixesNeighbours() {
    AttachedMethod base =
        TinyModel.attach(new ConformerAdapter().defaults(), TinyModel.bert(12, 768, 3072, 9));
    assertThat(TinyModel.parameters(base)).isEqualTo(12 * 19_488);
    AttachedMethod method =
        TinyModel.attach(
            new ConformerAdapter.Config(2, 3, 1, List.of()), TinyModel.bert(1, 4, 3, 5));
    Map<String, float[]> values = new HashMap<>(method.initialValues(2, MethodState.EMPTY, NONE));
    String up = "bert.encoder.layer.0.output.dense.conformer_up.weight";
    assertThat(values.get(up)).containsOnly(0);
    Arrays.fill(values.get(up), 0.5f);
    try (NDManager manager = ComputeDevice.cpu().newManager()) {
      MethodTensors tensors = TinyModel.tensors(manager, method, values, MethodState.EMPTY);
      float[] numbers = Philox.of(4, "x").gaussian(2 * 6 * 4, 1);
      TokenBatch padded = TokenBatch.of(List.of(new int[6], new int[3]), 0);
      float[] before = conformer(manager, method, tensors, padded, numbers);
      numbers[5 * 4] += 1; // last token of the first row
      numbers[6 * 4 + 3 * 4] += 1; // padding behind the third token of the second
      float[] after = conformer(manager, method, tensors, padded, numbers);
      for (int token = 0; token < 12; token++) {
        boolean changed = before[token * 4 + 1] != after[token * 4 + 1];
        boolean near = token == 4 || token == 5;
        boolean padding = token >= 9;
        if (!padding) {
          assertThat(changed).as("token " + token).isEqualTo(near);
        }
      }
    }
  }

  private static float[] conformer(
      NDManager manager,
      AttachedMethod method,
      MethodTensors tensors,
      TokenBatch batch,
      float[] numbers) {
    TuningContext context = TuningContext.inference(manager, batch);
    NDArray x = manager.create(numbers, new Shape(2, 6, 4));
    Modification change = method.modifications(tensors, context).get(0);
    return TinyModel.joined(change, x, x.zerosLike()).sub(x).toFloatArray();
  }

  @Test
  void namesWhatIsWrong() {
    assertThatThrownBy(() -> new ConformerAdapter.Config(96, 4, 1, List.of()))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("kernel_size")
        .hasMessageContaining("odd");
    assertThatThrownBy(() -> new Mosa.Config(1, 2, "relu", 1, 0, true, "mean", List.of()))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("num_experts")
        .hasMessageContaining("merge_experts");
    assertThatThrownBy(() -> new Iaa.Config(0, "relu", List.of()))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("reduction_factor");
  }
}
