package org.sparkpeft.core.peft.sharing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.LoraConfig;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.TargetModules;

class MosTest {
  private static final BaseWeights NO_BASE = name -> new float[0];
  private static final int LAYERS = 3;

  private static Mos.Config config(int r, int e, int l, int p, String saveAs) {
    return new Mos.Config(r, e, l, p, 8, 0, TargetModules.of("q", "up"), List.of(), saveAs);
  }

  private static ModuleTree modules() {
    List<ModuleSpec> modules = new ArrayList<>();
    for (int i = 0; i < LAYERS; i++) {
      modules.add(ModuleSpec.linear("m.layer." + i + ".q", 6, 6));
      modules.add(ModuleSpec.linear("m.layer." + i + ".up", 6, 8));
    }
    return new ModuleTree(modules);
  }

  private static AttachedMethod attach(Mos.Config config) {
    return new Mos().attach(config, modules());
  }

  private static Map<String, float[]> trained(AttachedMethod mos, MethodState state) {
    Map<String, float[]> values = new HashMap<>(mos.initialValues(1, state, NO_BASE));
    values.replaceAll((name, v) -> name.endsWith("B_pool") ? Bench.random(v.length, 2) : v);
    return values;
  }

  private static Bench.Layer layer(int i) {
    String path = "m.layer." + i + ".up";
    return new Bench.Layer(path, 8, Bench.random(48, i), Bench.random(30, 9), 1, 5, 6);
  }

  @Test
  void workedExample() {
    float[] pool = {1, 2, 3, 4, 5, 6, 7, 8};
    assertThat(Mos.assemble(pool, new int[] {2, 0, 3, 1}, 2))
        .containsExactly(5, 6, 1, 2, 7, 8, 3, 4);
    // The same through the forward pass: two rows of in = 4, l = 2, summed by B.
    Mos.Config config = new Mos.Config(2, 2, 2, 0, 2, 0, TargetModules.of("a"), List.of(), "own");
    AttachedMethod mos =
        new Mos().attach(config, new ModuleTree(List.of(ModuleSpec.linear("a", 4, 2))));
    MethodState state =
        new MethodState.Builder()
            .integers("a.mos_index_A", List.of(4), new int[] {2, 0, 3, 1})
            .integers("a.mos_index_B", List.of(4), new int[] {0, 1, 1, 0})
            .build();
    Map<String, float[]> values =
        Map.of("a.mos_A_pool", pool, "a.mos_B_pool", new float[] {1, 0, 7, 7});
    Bench.Layer layer = Bench.silent("a", 2, new float[] {1, 10, 100, 1000}, 1, 1, 4);
    float first = 5 + 60 + 100 + 2000;
    float second = 7 + 80 + 300 + 4000;
    assertThat(Bench.infer(mos, values, state, Bench.batch(1, 1), layer).outputs().get(0))
        .containsExactly(first, second);
  }

  @Test
  void drawsWithoutRepetitionAndKeepsOwnShards() {
    AttachedMethod mos = attach(config(4, 3, 2, 1, "own"));
    MethodState state = mos.initialState(7, NO_BASE);
    assertThat(state)
        .isEqualTo(mos.initialState(7, NO_BASE))
        .isNotEqualTo(mos.initialState(8, NO_BASE));
    int open = (3 - 1) * LAYERS * 2;
    for (int i = 0; i < LAYERS; i++) {
      int[] a = state.integers("m.layer." + i + ".q.mos_index_A");
      int[] b = state.integers("m.layer." + i + ".q.mos_index_B");
      assertThat(a).doesNotHaveDuplicates().hasSize(8);
      assertThat(Arrays.stream(a, 0, 6)).allMatch(shard -> shard >= 0 && shard < open);
      assertThat(Arrays.copyOfRange(a, 6, 8)).containsExactly(open + 2 * i, open + 2 * i + 1);
      assertThat(a).as("A and B are drawn apart").isNotEqualTo(b);
    }
  }

  @Test
  void hasTheParametersOfTheEquivalentLora() {
    assertThat(Bench.parameters(attach(config(4, 3, 2, 1, "own"))))
        .isEqualTo(3 * LAYERS * (6 + 6 + 6 + 8));
    List<ModuleSpec> llama = new ArrayList<>();
    for (int i = 0; i < 32; i++) {
      for (String name : List.of("q", "k", "v", "o")) {
        llama.add(ModuleSpec.linear("layers." + i + "." + name, 4096, 4096));
      }
      llama.add(ModuleSpec.linear("layers." + i + ".gate", 4096, 11008));
      llama.add(ModuleSpec.linear("layers." + i + ".up", 4096, 11008));
      llama.add(ModuleSpec.linear("layers." + i + ".down", 11008, 4096));
    }
    TargetModules all = new TargetModules(List.of(), "all-linear");
    for (int e : new int[] {2, 8}) {
      Mos.Config config = new Mos.Config(8, e, 4, 1, 16, .1, all, List.of(), "own");
      assertThat(Bench.parameters(new Mos().attach(config, new ModuleTree(llama))))
          .isEqualTo(e * 2_498_560);
    }
  }

  @Test
  void startsAsTheBaseWithTheBoundOfTheWholeRow() {
    AttachedMethod mos = attach(config(4, 3, 2, 1, "own"));
    MethodState state = mos.initialState(7, NO_BASE);
    Map<String, float[]> start = mos.initialValues(7, state, NO_BASE);
    assertThat(mos.fuse(Bench.vector(mos, start), state, name -> layer(0).weight()))
        .containsEntry("m.layer.0.up.weight", layer(0).weight());
    float bound = (float) (1 / Math.sqrt(6));
    float largest = 0;
    for (float a : Bench.get(start, "m.layer.q.mos_A_pool")) {
      largest = Math.max(largest, Math.abs(a));
    }
    assertThat(largest).isBetween(0.8f * bound, bound);
  }

  @Test
  void fusedIsUnfusedAndGradientsSumOverUses() {
    AttachedMethod mos = attach(config(4, 3, 2, 1, "own"));
    MethodState state = mos.initialState(7, NO_BASE);
    Map<String, float[]> values = trained(mos, state);
    Bench.Layer[] layers = {layer(0), layer(1), layer(2)};
    // Fusing reads all layers' weights.
    Map<String, float[]> base = new TreeMap<>();
    for (Bench.Layer one : layers) {
      base.put(one.path() + ".weight", one.weight());
      base.put(one.path().replace(".up", ".q") + ".weight", new float[36]);
    }
    Map<String, float[]> fused =
        mos.fuse(Bench.vector(mos, values), state, name -> Bench.get(base, name));
    Bench.Pass pass = Bench.infer(mos, values, state, Bench.batch(1, 5), layers);
    for (int i = 0; i < LAYERS; i++) {
      float[] expected =
          Bench.infer(
                  mos,
                  mos.initialValues(1, state, NO_BASE),
                  state,
                  Bench.batch(1, 5),
                  new Bench.Layer(
                      layers[i].path(),
                      8,
                      Bench.get(fused, layers[i].path() + ".weight"),
                      layers[i].x(),
                      1,
                      5,
                      6))
              .outputs()
              .get(0);
      assertThat(pass.outputs().get(i)).containsExactly(expected, Offset.offset(1e-5f));
    }
    float[] together = gradient(mos, values, state, layers);
    float[] sum = new float[together.length];
    for (Bench.Layer one : layers) {
      float[] alone = gradient(mos, values, state, one);
      IntStream.range(0, sum.length).forEach(i -> sum[i] += alone[i]);
    }
    assertThat(together).containsExactly(sum, Offset.offset(1e-4f));
  }

  private static float[] gradient(
      AttachedMethod mos, Map<String, float[]> values, MethodState state, Bench.Layer... layers) {
    return Bench.get(
        Bench.train(mos, values, state, Bench.batch(1, 5), layers).gradients(),
        "m.layer.up.mos_A_pool");
  }

  @Test
  void filesHoldPoolsAndIndicesOrAnOrdinaryLora() {
    AttachedMethod mos = attach(config(4, 3, 2, 1, "own"));
    MethodState state = mos.initialState(7, NO_BASE);
    Map<String, float[]> values = trained(mos, state);
    SortedMap<String, TensorData> file = mos.save(Bench.vector(mos, values), state);
    AttachedMethod.Loaded loaded = mos.load(new AdapterTensors("test", file), NO_BASE);
    assertThat(loaded.state()).isEqualTo(state);
    assertThat(loaded.values()).usingRecursiveComparison().isEqualTo(values);

    AttachedMethod expanding = attach(config(4, 3, 2, 1, "lora"));
    Map<String, Object> fields = expanding.savedFields(state);
    LoraConfig config = (LoraConfig) PeftMethods.readConfig(fields);
    assertThat(config.r()).isEqualTo(4);
    assertThat(config.loraAlpha()).isEqualTo(8);
    AttachedMethod lora = PeftMethods.attach(config, modules());
    Map<String, float[]> expanded =
        lora.load(
                new AdapterTensors("test", expanding.save(Bench.vector(mos, values), state)),
                NO_BASE)
            .values();
    Bench.Layer layer = layer(1);
    assertThat(
            Bench.infer(lora, expanded, MethodState.EMPTY, Bench.batch(1, 5), layer)
                .outputs()
                .get(0))
        .containsExactly(
            Bench.infer(mos, values, state, Bench.batch(1, 5), layer).outputs().get(0),
            Offset.offset(1e-5f));

    String name = AdapterTensors.PREFIX + "m.layer.1.q.mos_index_B";
    file.put(
        name,
        TensorData.ofLongs(name, List.of(8), new long[] {0, 1, 2, 3, 4, 5, 6, 18}, DType.I32));
    assertThatThrownBy(() -> mos.load(new AdapterTensors("test", file), NO_BASE))
        .isInstanceOf(FormatException.class)
        .hasMessageContaining("0..17");
  }

  @Test
  void refusesWhatDoesNotFit() {
    assertThatThrownBy(() -> attach(config(4, 3, 4, 1, "own")))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("shards_per_vector")
        .hasMessageContaining("6 and 6");
    assertThatThrownBy(() -> attach(config(8, 3, 2, 1, "own")))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("without repetition");
    assertThatThrownBy(() -> config(4, 2, 2, 2, "own"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("private_rank");
    assertThatThrownBy(() -> config(4, 2, 0, 3, "peft"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("shards_per_vector")
        .hasMessageContaining("private_rank")
        .hasMessageContaining("save_as");
  }
}
