package org.sparkpeft.core.peft.sharing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.io.TensorData;
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
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;

class StableRpsTest {
  private static final BaseWeights NO_BASE = name -> new float[0];
  private static final int ENTRIES = 2 * (4 + 3) + 2 * (3 + 5);

  private static StableRps.Config config(double compression, String mapping, String saveAs) {
    TargetModules targets = TargetModules.of("a", "b");
    return new StableRps.Config(2, 4, 0, compression, mapping, 4, targets, List.of(), saveAs);
  }

  private static ModuleTree modules() {
    return new ModuleTree(List.of(ModuleSpec.linear("0.a", 4, 3), ModuleSpec.linear("1.b", 3, 5)));
  }

  private static AttachedMethod attach(StableRps.Config config) {
    return new StableRps().attach(config, modules());
  }

  private static Bench.Layer[] layers() {
    return new Bench.Layer[] {
      new Bench.Layer("0.a", 3, Bench.random(12, 1), Bench.random(20, 4), 1, 5, 4),
      new Bench.Layer("1.b", 5, Bench.random(15, 2), Bench.random(15, 5), 1, 5, 3)
    };
  }

  @Test
  void workedExampleOfRandomFold() {
    int[] index = PoolMapping.randomFold(10, 4, new long[] {1, 1, 1}, new long[] {1, 3, 2});
    assertThat(index).containsExactly(1, 2, 3, 0, 3, 0, 1, 2, 2, 3);
    assertThat(PoolMapping.loads(index, 4)).containsExactly(2, 2, 3, 3);
  }

  @Test
  void robeKeepsChunksTogether() {
    // ((7 c + 5) mod p) mod (10 - 4 + 1): 5, 5 + 7 = 12 -> 5, 19 -> 5 for c = 0, 1, 2.
    assertThat(PoolMapping.robe(9, 10, 4, 7, 5)).containsExactly(5, 6, 7, 8, 5, 6, 7, 8, 5);
    assertThat(PoolMapping.robe(6, 10, 4, 2_038_074_742L, 3))
        .as("64-bit: (p - 1 + 3) mod p = 2")
        .containsExactly(3, 4, 5, 6, 2, 3);
  }

  @ParameterizedTest
  @CsvSource({"10, 4", "97, 12", "1000, 128", "64, 64", "1001, 1000"})
  void randomFoldLoadsSlotsEvenly(int n, int slots) {
    for (int seed = 0; seed < 5; seed++) {
      int[] index = PoolMapping.randomFold(n, slots, Philox.of(seed, "test"));
      int[] loads = PoolMapping.loads(index, slots);
      assertThat(Arrays.stream(loads).max().orElseThrow())
          .as("seed " + seed)
          .isLessThanOrEqualTo(Arrays.stream(loads).min().orElseThrow() + 1);
      for (int from = 0; from + slots <= n; from += slots) {
        assertThat(Arrays.copyOfRange(index, from, from + slots)).doesNotHaveDuplicates();
      }
      int[] robe = PoolMapping.robe(n, slots, 3, Philox.of(seed, "test"));
      assertThat(Arrays.stream(robe)).allMatch(slot -> slot >= 0 && slot < slots);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"randomfold", "robe-z"})
  void startsAsTheBaseAndFuses(String mapping) {
    AttachedMethod method = attach(config(3, mapping, "own"));
    assertThat(method.shapes()).isEqualTo(Map.of("rps_pool", List.of(ENTRIES / 3)));
    MethodState state = method.initialState(5, NO_BASE);
    assertThat(state)
        .isEqualTo(method.initialState(5, NO_BASE))
        .isNotEqualTo(method.initialState(6, NO_BASE));
    Bench.Layer[] layers = layers();
    Map<String, float[]> start = method.initialValues(5, state, NO_BASE);
    Map<String, float[]> base =
        Map.of("0.a.weight", layers[0].weight(), "1.b.weight", layers[1].weight());
    assertThat(method.fuse(Bench.vector(method, start), state, name -> Bench.get(base, name)))
        .usingRecursiveComparison()
        .isEqualTo(base);
    assertThat(
            Bench.train(method, start, state, Bench.batch(1, 5), layers)
                .gradients()
                .get("rps_pool"))
        .as("learns from the start")
        .isNotEqualTo(new float[ENTRIES / 3]);
    Map<String, float[]> trained = Map.of("rps_pool", Bench.random(ENTRIES / 3, 8));
    assertThat(Bench.unfused(method, trained, state, Bench.batch(1, 5), layers)).isLessThan(1e-5);
  }

  @Test
  void poolOfFullSizeIsLora() {
    AttachedMethod method = attach(config(1, "randomfold", "lora"));
    MethodState state = method.initialState(5, NO_BASE);
    float[] pool = Bench.random(ENTRIES, 3);
    LoraConfig config = (LoraConfig) PeftMethods.readConfig(method.savedFields(state));
    AttachedMethod lora = PeftMethods.attach(config, modules());
    Map<String, float[]> values = Map.of("rps_pool", pool);
    Map<String, float[]> expanded =
        lora.load(
                new AdapterTensors("test", method.save(Bench.vector(method, values), state)),
                NO_BASE)
            .values();
    assertThat(Bench.parameters(lora)).isEqualTo(Bench.parameters(method));
    Bench.Pass shared = Bench.train(method, values, state, Bench.batch(1, 5), layers());
    Bench.Pass plain = Bench.train(lora, expanded, MethodState.EMPTY, Bench.batch(1, 5), layers());
    for (int i = 0; i < 2; i++) {
      assertThat(shared.outputs().get(i))
          .containsExactly(plain.outputs().get(i), Offset.offset(1e-5f));
    }
    float[] expected = new float[ENTRIES];
    for (String path : List.of("0.a", "1.b")) {
      for (String side : List.of("A", "B")) {
        int[] index = state.integers(path + ".rps_index_" + side);
        float[] gradient = Bench.get(plain.gradients(), path + ".lora_" + side + ".weight");
        for (int i = 0; i < index.length; i++) {
          expected[index[i]] += gradient[i];
        }
      }
    }
    assertThat(shared.gradients().get("rps_pool")).containsExactly(expected, Offset.offset(1e-4f));
  }

  @Test
  void gradientsAreDividedByTheEntriesOfTheirSlot() {
    AttachedMethod method = attach(config(4, "randomfold", "own"));
    MethodState state = method.initialState(5, NO_BASE);
    int slots = Bench.get(method.shapes(), "rps_pool").get(0);
    assertThat(slots).isEqualTo(8);
    ParameterLayout layout =
        ParameterLayout.of(Map.of("rps_pool", List.of(slots), "a.bias", List.of(1)));
    float[] gradient = new float[slots + 1];
    Arrays.fill(gradient, 12);
    method
        .observer(state, new TrainingSpan(1, 0, 1, true), layout)
        .beforeStep(
            new StepObserver.Update(
                0, layout, new float[slots + 1], gradient, Map.of(), 1, (a, b, c, d) -> {}));
    int from = layout.entry("rps_pool").offset();
    assertThat(gradient[layout.entry("a.bias").offset()]).as("others'").isEqualTo(12);
    // 30 entries in 8 slots: six of them have 4, two have 3.
    float[] pool = Arrays.copyOfRange(gradient, from, from + slots);
    Arrays.sort(pool);
    assertThat(pool).containsExactly(3, 3, 3, 3, 3, 3, 4, 4);
  }

  @Test
  void fileIsThePoolAndTheSeed() {
    AttachedMethod method = attach(config(4, "robe-z", "own"));
    MethodState state = method.initialState(-77, NO_BASE);
    Map<String, float[]> values = Map.of("rps_pool", Bench.random(8, 3));
    SortedMap<String, TensorData> file = method.save(Bench.vector(method, values), state);
    assertThat(file.keySet())
        .containsExactly("base_model.model.rps_pool", "base_model.model.rps_seed");
    AttachedMethod.Loaded loaded = method.load(new AdapterTensors("test", file), NO_BASE);
    assertThat(loaded.state()).isEqualTo(state);
    assertThat(loaded.values()).usingRecursiveComparison().isEqualTo(values);
  }

  @Test
  void refusesWhatDoesNotFit() {
    assertThatThrownBy(() -> attach(config(10, "robe-z", "own")))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("chunk_size")
        .hasMessageContaining("= 3, got 4");
    assertThatThrownBy(
            () ->
                new StableRps.Config(0, 0, 1, 0.5, "sha", 0, TargetModules.of("a"), List.of(), "x"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("lora_alpha")
        .hasMessageContaining("lora_dropout")
        .hasMessageContaining("compression")
        .hasMessageContaining("randomfold")
        .hasMessageContaining("chunk_size")
        .hasMessageContaining("save_as");
  }
}
