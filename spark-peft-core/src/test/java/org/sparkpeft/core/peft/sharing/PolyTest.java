package org.sparkpeft.core.peft.sharing;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.offset;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.model.ModuleSpec;
import org.sparkpeft.core.model.ModuleTree;
import org.sparkpeft.core.model.TokenBatch;
import org.sparkpeft.core.peft.AdapterTensors;
import org.sparkpeft.core.peft.AttachedMethod;
import org.sparkpeft.core.peft.MethodState;
import org.sparkpeft.core.peft.PeftMethods;
import org.sparkpeft.core.peft.TargetModules;

class PolyTest {
  private static final Offset<Float> CLOSE = Offset.offset(1e-6f);

  private static Poly.Config config(int r, int tasks, int skills, int splits, String trainable) {
    return new Poly.Config(
        r,
        TargetModules.of("a"),
        List.of(),
        List.of(),
        true,
        "poly",
        tasks,
        skills,
        splits,
        "sample",
        trainable,
        1);
  }

  private static AttachedMethod attach(Poly.Config config, int in, int out) {
    return new Poly().attach(config, new ModuleTree(List.of(ModuleSpec.linear("a", in, out))));
  }

  /** Skills and logits of the card's example. */
  private static Map<String, float[]> example() {
    return Map.of(
        "a.poly_lora_A", new float[] {1, 0, 0, 1},
        "a.poly_lora_B", new float[] {1, 0, 0, 2},
        "a.poly_router.module_logits", new float[] {0, (float) Math.log(3)});
  }

  private static AdapterTensors file(AttachedMethod method, Map<String, float[]> values) {
    SortedMap<String, TensorData> tensors =
        method.save(Bench.vector(method, values), MethodState.EMPTY);
    return new AdapterTensors("test", tensors);
  }

  @Test
  void workedExample() {
    AttachedMethod poly = attach(config(1, 1, 2, 1, "all"), 2, 2);
    float[] y =
        Bench.infer(
                poly,
                example(),
                MethodState.EMPTY,
                Bench.batch(1, 1),
                Bench.silent("a", 2, new float[] {1, 1}, 1, 1, 2))
            .outputs()
            .get(0);
    assertThat(y).containsExactly(new float[] {0.4f, 1.2f}, CLOSE);
  }

  @Test
  void averageIsTheProductOfMeans() {
    AttachedMethod poly = attach(config(1, 1, 2, 1, "all"), 2, 2);
    AttachedMethod average = attach(config(1, 1, 2, 1, "average"), 2, 2);
    Map<String, float[]> collapsed =
        average.load(file(poly, example()), name -> new float[0]).values();
    assertThat(collapsed.get("a.poly_lora_A")).containsExactly(0.5f, 0.5f);
    assertThat(collapsed.get("a.poly_lora_B")).containsExactly(0.5f, 1);
    Map<String, float[]> fused =
        average.fuse(Bench.vector(average, collapsed), MethodState.EMPTY, name -> new float[2 * 2]);
    assertThat(fused.get("a.weight")).as("(mean A mean B)t").containsExactly(.25f, .25f, .5f, .5f);
    assertThat(average.load(file(average, collapsed), name -> new float[0]).values())
        .as("its file holds equal skills")
        .usingRecursiveComparison()
        .isEqualTo(collapsed);
  }

  @Test
  void averageSavedIsThePolyThatComputesTheSame() {
    AttachedMethod average = attach(config(2, 2, 3, 2, "average"), 6, 4);
    AttachedMethod poly = attach(config(2, 2, 3, 2, "all"), 6, 4);
    Map<String, float[]> values =
        Map.of("a.poly_lora_A", Bench.random(12, 1), "a.poly_lora_B", Bench.random(8, 2));
    TokenBatch batch = Bench.batch(2, 3).withTasks(new int[] {1, 0});
    Bench.Layer layer = Bench.silent("a", 4, Bench.random(36, 3), 2, 3, 6);
    Map<String, float[]> same = poly.load(file(average, values), name -> new float[0]).values();
    assertThat(Bench.infer(poly, same, MethodState.EMPTY, batch, layer).outputs().get(0))
        .containsExactly(
            Bench.infer(average, values, MethodState.EMPTY, batch, layer).outputs().get(0), CLOSE);
    assertThat(Bench.unfused(average, values, MethodState.EMPTY, batch, layer)).isLessThan(1e-5);
  }

  @Test
  void logitsAloneStartFromTrainedSkills() {
    AttachedMethod poly = attach(config(1, 1, 2, 1, "all"), 2, 2);
    AttachedMethod routing = attach(config(1, 1, 2, 1, "logits"), 2, 2);
    assertThat(routing.shapes()).isEqualTo(Map.of("a.poly_router.module_logits", List.of(1, 2)));
    AttachedMethod.Loaded loaded = routing.load(file(poly, example()), name -> new float[0]);
    Bench.Layer layer = Bench.silent("a", 2, new float[] {1, 1}, 1, 1, 2);
    Bench.Pass pass =
        Bench.infer(routing, loaded.values(), loaded.state(), Bench.batch(1, 1), layer);
    assertThat(pass.outputs().get(0)).containsExactly(new float[] {0.4f, 1.2f}, CLOSE);
    assertThat(Bench.unfused(routing, loaded.values(), loaded.state(), Bench.batch(1, 1), layer))
        .isLessThan(1e-6);
    assertThat(routing.save(Bench.vector(routing, loaded.values()), loaded.state()))
        .isEqualTo(poly.save(Bench.vector(poly, example()), MethodState.EMPTY));

    MethodState fresh = routing.initialState(3, name -> new float[0]);
    assertThat(fresh).isEqualTo(routing.initialState(3, name -> new float[0]));
    Map<String, float[]> start = routing.initialValues(3, fresh, name -> new float[0]);
    assertThat(
            Bench.train(routing, start, fresh, Bench.batch(1, 1), layer)
                .gradients()
                .get("a.poly_router.module_logits"))
        .as("random skills can be routed")
        .doesNotContain(0);
  }

  @Test
  void startsAsTheBaseAndFusesForOneTask() {
    AttachedMethod poly = attach(config(3, 1, 2, 2, "all"), 6, 4);
    Map<String, float[]> start =
        new HashMap<>(poly.initialValues(1, MethodState.EMPTY, name -> new float[0]));
    Bench.Layer layer = new Bench.Layer("a", 4, Bench.random(24, 9), Bench.random(36, 3), 2, 3, 6);
    TokenBatch batch = Bench.batch(2, 3);
    assertThat(Bench.unfused(poly, start, MethodState.EMPTY, batch, layer)).isLessThan(1e-6);
    assertThat(poly.fuse(Bench.vector(poly, start), MethodState.EMPTY, name -> layer.weight()))
        .containsEntry("a.weight", layer.weight());
    for (float a : Bench.get(start, "a.poly_lora_A")) {
      assertThat(Math.abs(a)).isLessThanOrEqualTo((float) (1 / Math.sqrt(3)));
    }
    start.put("a.poly_lora_B", Bench.random(Bench.get(start, "a.poly_lora_B").length, 4));
    start.put("a.poly_router.module_logits", new float[] {1, -2, 0.5f, 3});
    assertThat(Bench.unfused(poly, start, MethodState.EMPTY, batch, layer)).isLessThan(1e-5);
    assertThat(attach(config(3, 2, 2, 2, "all"), 6, 4).whyNotFused().orElseThrow())
        .contains("n_tasks");
  }

  @Test
  void parametersDoNotDependOnSplitsButForLogits() {
    assertThat(Bench.parameters(attach(config(2, 2, 3, 1, "all"), 384, 384)))
        .isEqualTo(3 * 2 * 768 + 2 * 3);
    assertThat(Bench.parameters(attach(config(2, 2, 3, 4, "all"), 384, 384)))
        .isEqualTo(3 * 2 * 768 + 2 * 3 * 4);
  }

  @Test
  void eachExampleIsRoutedByItsTask() {
    AttachedMethod poly = attach(config(1, 2, 2, 1, "all"), 2, 2);
    Map<String, float[]> values = new HashMap<>(example());
    values.put("a.poly_router.module_logits", new float[] {0, (float) Math.log(3), 40, -40});
    TokenBatch batch = Bench.batch(2, 1).withTasks(new int[] {1, 0});
    Bench.Layer layer = Bench.silent("a", 2, new float[] {1, 1, 1, 1}, 2, 1, 2);
    assertThat(Bench.infer(poly, values, MethodState.EMPTY, batch, layer).outputs().get(0))
        .containsExactly(new float[] {1, 0, 0.4f, 1.2f}, CLOSE);
    Bench.Layer pooled = Bench.silent("a", 2, new float[] {1, 1, 1, 1}, 2, 2);
    assertThat(Bench.infer(poly, values, MethodState.EMPTY, batch, pooled).outputs().get(0))
        .as("input without a sequence")
        .containsExactly(new float[] {1, 0, 0.4f, 1.2f}, CLOSE);
    TokenBatch first = batch.withTasks(new int[] {0, 0});
    float[] gradient =
        Bench.get(
            Bench.train(poly, values, MethodState.EMPTY, first, layer).gradients(),
            "a.poly_router.module_logits");
    assertThat(gradient[2]).isEqualTo(0);
    assertThat(gradient[0]).isNotEqualTo(0);
    assertThatThrownBy(
            () ->
                Bench.infer(
                    poly, values, MethodState.EMPTY, batch.withTasks(new int[] {2, 0}), layer))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("n_tasks to at least 3");
  }

  @Test
  void samplesInTrainingUnlessTold() {
    AttachedMethod sampled = attach(config(1, 1, 2, 1, "all"), 2, 2);
    AttachedMethod plain = attach(config(1, 1, 2, 1, "all").withGate("sigmoid"), 2, 2);
    int rows = 4000;
    float[] ones = new float[2 * rows];
    java.util.Arrays.fill(ones, 1);
    Bench.Layer layer = Bench.silent("a", 2, ones, rows, 1, 2);
    TokenBatch batch = Bench.batch(rows, 1);
    Map<String, float[]> values = new HashMap<>(example());
    values.put("a.poly_lora_B", new float[] {1, 1, 1, 1});
    float[] always = Bench.train(plain, values, MethodState.EMPTY, batch, layer).outputs().get(0);
    assertThat(always[0]).isCloseTo(1, CLOSE);
    values.put("a.poly_lora_B", new float[] {1, 0, 0, 0});
    values.put("a.poly_lora_A", new float[] {1, 0, 1, 0});
    float[] first = Bench.train(sampled, values, MethodState.EMPTY, batch, layer).outputs().get(0);
    double sum = 0;
    for (int i = 0; i < rows; i++) {
      assertThat(first[2 * i]).isBetween(0f, 1f);
      sum += first[2 * i];
    }
    // E[z0 / (z0 + z1)] for z = sigmoid(logit + logistic noise), by numerical integration.
    assertThat(sum / rows).isCloseTo(expectedShare(0, Math.log(3)), offset(0.02));
  }

  private static double expectedShare(double first, double second) {
    int n = 400;
    double sum = 0;
    for (int i = 0; i < n; i++) {
      for (int j = 0; j < n; j++) {
        double u = (i + 0.5) / n;
        double v = (j + 0.5) / n;
        double a = 1 / (1 + Math.exp(-(first + Math.log(u / (1 - u)))));
        double b = 1 / (1 + Math.exp(-(second + Math.log(v / (1 - v)))));
        sum += a / (a + b);
      }
    }
    return sum / n / n;
  }

  @Test
  void settingsOfOursAreWrittenOnlyWhereTheyDiffer() {
    assertThat(PeftMethods.writeConfig(new Poly().defaults()).keySet())
        .containsExactlyInAnyOrder(
            "peft_type",
            "r",
            "target_modules",
            "exclude_modules",
            "init_weights",
            "poly_type",
            "n_tasks",
            "n_skills",
            "n_splits");
    Poly.Config config = config(2, 2, 3, 4, "logits").withGate("sigmoid");
    assertThat(PeftMethods.readConfig(PeftMethods.writeConfig(config))).isEqualTo(config);
  }

  @Test
  void refusesWhatDoesNotFit() {
    assertThatThrownBy(() -> attach(config(1, 1, 1, 4, "all"), 8, 6))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("n_splits")
        .hasMessageContaining("8 and 6");
    assertThatThrownBy(() -> config(0, 0, 0, 0, "none"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("n_tasks")
        .hasMessageContaining("n_skills")
        .hasMessageContaining("n_splits")
        .hasMessageContaining("MHR-z");
  }
}
