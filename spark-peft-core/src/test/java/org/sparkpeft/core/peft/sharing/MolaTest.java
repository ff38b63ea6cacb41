package org.sparkpeft.core.peft.sharing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.BaseWeights;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.TargetModules;

class MolaTest {
  private static final BaseWeights NO_BASE = name -> new float[0];
  private static final float[] IDENTITY = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};

  private static Mola.Config config(int r, List<Integer> experts, int k, double balance) {
    TargetModules targets = TargetModules.of("a", "b");
    return new Mola.Config(r, r, 0, experts, k, balance, targets, List.of());
  }

  private static AttachedMethod attach(Mola.Config config) {
    return new Mola()
        .attach(
            config,
            new ModuleTree(
                List.of(ModuleSpec.linear("l.0.a", 4, 4), ModuleSpec.linear("l.0.b", 4, 4))));
  }

  /** The router's logits are the input; expert e writes 1 into output e. */
  private static Map<String, float[]> transparent() {
    Map<String, float[]> values = new HashMap<>();
    for (String path : List.of("l.0.a", "l.0.b")) {
      float[] a = new float[16];
      java.util.Arrays.fill(a, 0.5f); // the sum of the input, 2, times 0.5 is 1
      values.put(path + ".mola_router.weight", IDENTITY);
      values.put(path + ".mola_A", a);
      values.put(path + ".mola_B", IDENTITY);
    }
    return values;
  }

  private static final float[] TOKENS = {2, 1, 0, -1, 0, 2, 1, -1};

  @Test
  void workedExample() {
    AttachedMethod mola = attach(config(1, List.of(4), 2, 1));
    Bench.Layer a = Bench.silent("l.0.a", 4, TOKENS, 1, 2, 4);
    Bench.Layer b = Bench.silent("l.0.b", 4, TOKENS, 1, 2, 4);
    float x = .7310586f;
    float y = .2689414f;
    Bench.Pass pass = Bench.train(mola, transparent(), MethodState.EMPTY, Bench.batch(1, 2), a, b);
    assertThat(pass.outputs().get(0))
        .containsExactly(new float[] {x, y, 0, 0, 0, x, y, 0}, Offset.offset(1e-6f));
    assertThat(pass.extra())
        .as("both modules route alike, so together as each alone")
        .isCloseTo(1.4083399, within(1e-6));
    AttachedMethod weighted = attach(config(1, List.of(4), 2, 1e-3));
    assertThat(
            Bench.train(weighted, transparent(), MethodState.EMPTY, Bench.batch(1, 2), a, b)
                .extra())
        .isCloseTo(1.4083399e-3, within(1e-8));
  }

  @Test
  void paddingIsNotBalanced() {
    AttachedMethod mola = attach(config(1, List.of(4), 2, 1));
    TokenBatch batch = TokenBatch.of(List.of(new int[1], new int[2]), 0);
    // Row 0 is one token and one padding, row 1 two tokens: f and P over three tokens.
    float[] x = {2, 1, 0, -1, 9, 9, -9, 0, 0, 2, 1, -1, 2, 1, 0, -1};
    float[] without = {2, 1, 0, -1, 0, 2, 1, -1, 2, 1, 0, -1};
    double padded =
        Bench.train(
                mola,
                transparent(),
                MethodState.EMPTY,
                batch,
                Bench.silent("l.0.a", 4, x, 2, 2, 4),
                Bench.silent("l.0.b", 4, x, 2, 2, 4))
            .extra();
    double plain =
        Bench.train(
                mola,
                transparent(),
                MethodState.EMPTY,
                Bench.batch(1, 3),
                Bench.silent("l.0.a", 4, without, 1, 3, 4),
                Bench.silent("l.0.b", 4, without, 1, 3, 4))
            .extra();
    assertThat(padded).isCloseTo(plain, within(1e-6)).isGreaterThan(1.4);
  }

  @Test
  void modulesOfALayerAreBalancedTogether() {
    AttachedMethod mola = attach(config(1, List.of(4), 1, 1));
    // One module sends its token to expert 0, the other to expert 1.
    Bench.Layer a = Bench.silent("l.0.a", 4, new float[] {40, 0, 0, 0}, 1, 1, 4);
    Bench.Layer b = Bench.silent("l.0.b", 4, new float[] {0, 40, 0, 0}, 1, 1, 4);
    assertThat(Bench.train(mola, transparent(), MethodState.EMPTY, Bench.batch(1, 1), a, b).extra())
        .isCloseTo(4 * (.5 * .5 + .5 * .5), within(1e-6));
  }

  @Test
  void tiesGoToTheLowestNumberAndUniformRoutingCostsOne() {
    AttachedMethod mola = attach(config(1, List.of(4), 2, 1));
    float[] ties = {.5f, .5f, .5f, .5f};
    Bench.Layer a = Bench.silent("l.0.a", 4, ties, 1, 1, 4);
    Bench.Layer b = Bench.silent("l.0.b", 4, ties, 1, 1, 4);
    Bench.Pass pass = Bench.train(mola, transparent(), MethodState.EMPTY, Bench.batch(1, 1), a, b);
    assertThat(pass.outputs().get(0)).containsExactly(.5f, .5f, 0, 0);
    assertThat(pass.extra()).isCloseTo(1, within(1e-6));
  }

  @Test
  void takesAllExpertsWhereThereAreFewerThanTopK() {
    AttachedMethod mola = attach(config(1, List.of(4), 9, 0));
    Bench.Layer a = Bench.silent("l.0.a", 4, TOKENS, 1, 2, 4);
    Bench.Pass pass = Bench.infer(mola, transparent(), MethodState.EMPTY, Bench.batch(1, 2), a);
    assertThat(java.util.Arrays.copyOf(pass.outputs().get(0), 4))
        .containsExactly(
            new float[] {.6439143f, .2368828f, .0871443f, .0320586f}, Offset.offset(1e-6f));
  }

  @Test
  void startsAsTheBaseAndTrainsTheExpertsChosen() {
    AttachedMethod mola = attach(config(2, List.of(4), 2, 0));
    Map<String, float[]> start = mola.initialValues(1, MethodState.EMPTY, NO_BASE);
    float[] weight = Bench.random(16, 3);
    Bench.Layer a = new Bench.Layer("l.0.a", 4, weight, Bench.random(20, 4), 1, 5, 4);
    AttachedMethod none = attach(config(2, List.of(1), 1, 0));
    float[] y = Bench.infer(mola, start, MethodState.EMPTY, Bench.batch(1, 5), a).outputs().get(0);
    assertThat(y)
        .containsExactly(
            Bench.infer(
                    none,
                    none.initialValues(9, MethodState.EMPTY, NO_BASE),
                    MethodState.EMPTY,
                    Bench.batch(1, 5),
                    a)
                .outputs()
                .get(0));
    Map<String, float[]> transparent = new HashMap<>(transparent());
    Bench.Layer one = Bench.silent("l.0.a", 4, new float[] {3, 2, 1, 0}, 1, 1, 4);
    AttachedMethod small = attach(config(1, List.of(4), 2, 0));
    float[] gradient =
        Bench.train(small, transparent, MethodState.EMPTY, Bench.batch(1, 1), one)
            .gradients()
            .get("l.0.a.mola_B");
    assertThat(java.util.Arrays.copyOf(gradient, 8)).doesNotContain(0);
    assertThat(java.util.Arrays.copyOfRange(gradient, 8, 16)).containsOnly(0);
  }

  @Test
  void expertsAreSpreadOverTheLayers() {
    List<ModuleSpec> llama = new ArrayList<>();
    for (int i = 0; i < 32; i++) {
      for (String name : List.of("q", "k", "v", "o")) {
        llama.add(ModuleSpec.linear("layers." + i + "." + name, 4096, 4096));
      }
      llama.add(ModuleSpec.linear("layers." + i + ".gate", 4096, 11008));
      llama.add(ModuleSpec.linear("layers." + i + ".up", 4096, 11008));
      llama.add(ModuleSpec.linear("layers." + i + ".down", 11008, 4096));
    }
    Mola.Config config =
        new Mola.Config(
            8,
            16,
            .05,
            List.of(2, 4, 6, 8),
            2,
            0,
            new TargetModules(List.of(), "all-linear"),
            List.of());
    AttachedMethod mola = new Mola().attach(config, new ModuleTree(llama));
    assertThat(Bench.parameters(mola)).isEqualTo(105_635_840);
    assertThat(mola.shapes().get("layers.7.q.mola_A")).containsExactly(2, 8, 4096);
    assertThat(mola.shapes().get("layers.8.q.mola_A")).containsExactly(4, 8, 4096);
    assertThat(mola.shapes().get("layers.31.q.mola_A")).containsExactly(8, 8, 4096);
    Mola.Config many = config(1, List.of(2, 4, 6, 8), 2, 0);
    assertThat(attach(many).shapes().get("l.0.a.mola_A")).as("one layer").containsExactly(2, 1, 4);
    int routers =
        mola.shapes().entrySet().stream()
            .filter(entry -> entry.getKey().contains("router"))
            .mapToInt(entry -> entry.getValue().get(0) * entry.getValue().get(1))
            .sum();
    assertThat(routers).isEqualTo(5_693_440);
  }

  @Test
  void refusesWhatCannotBe() {
    assertThat(attach(config(1, List.of(4), 2, 0)).whyNotFused().orElseThrow()).contains("token");
    assertThatThrownBy(() -> config(0, List.of(4, 0), 0, -1))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("[4, 0]")
        .hasMessageContaining("top_k")
        .hasMessageContaining("balance_weight");
  }
}
