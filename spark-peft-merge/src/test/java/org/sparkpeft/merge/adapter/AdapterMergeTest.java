package org.sparkpeft.merge.adapter;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.adapter.AdapterMerge.Heads;
import org.sparkpeft.merge.method.Breadcrumbs;
import org.sparkpeft.merge.method.Combination;
import org.sparkpeft.merge.method.LoraModule;
import org.sparkpeft.merge.method.MergeMethod;
import org.sparkpeft.merge.method.PcbMerging;

class AdapterMergeTest {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final String Q = "base_model.model.layer.0.query";
  private static final String V = "base_model.model.layer.0.value";

  @TempDir private Path folder;

  private Path adapter(String name, int rank, double alpha, String base, String... modules) {
    ObjectNode config = JSON.createObjectNode().put("peft_type", "LORA").put("r", rank);
    config.put("lora_alpha", alpha).put("base_model_name_or_path", base);
    config.putArray("target_modules").add("query").add("value");
    List<TensorData> tensors = new ArrayList<>();
    for (String module : modules) {
      Philox random = Philox.of(Philox.hash(name + module), "adapter");
      tensors.add(
          TensorData.ofFloats(
              module + ".lora_A.weight", List.of(rank, 6), random.gaussian(rank * 6, 1)));
      tensors.add(
          TensorData.ofFloats(
              module + ".lora_B.weight", List.of(5, rank), random.child(1).gaussian(5 * rank, 1)));
    }
    AdapterDirectory.write(folder.resolve(name), config, TensorData.byName(tensors));
    return folder.resolve(name);
  }

  private static float[] delta(Path adapter, String module) {
    LoraModule read = LoraAdapter.read(adapter).modules().get(module);
    assertThat(read).isNotNull();
    return read == null ? new float[0] : read.deltaWeight();
  }

  @Test
  void differentRanksAndModulesUnite() {
    Path a = adapter("a", 2, 4, "base", Q, V);
    Path b = adapter("b", 3, 3, "base", Q);
    Path out = folder.resolve("out");
    AdapterMerge.Summary summary =
        new AdapterMerge("cat", 1, 0, 0)
            .merge(List.of(a, b), List.of(0.5, -2.0), out, Heads.MEAN, false);

    assertThat(summary.modules()).isEqualTo(2);
    assertThat(summary.rank()).isEqualTo(5);
    assertThat(summary.notes()).containsExactly(b + " has no " + V + "; it counts as zero");
    float[] expected = delta(a, Q);
    for (int i = 0; i < expected.length; i++) {
      expected[i] = .5f * expected[i] - 2 * delta(b, Q)[i];
    }
    assertThat(delta(out, Q)).containsExactly(expected, within(1e-5f));
    float[] half = delta(a, V);
    for (int i = 0; i < half.length; i++) {
      half[i] *= .5f;
    }
    assertThat(delta(out, V)).containsExactly(half, within(1e-5f));
    ObjectNode config = AdapterDirectory.read(out).config();
    assertThat(config.path("r").asInt()).isEqualTo(5);
    assertThat(config.path("lora_alpha").asInt()).isEqualTo(5);
    assertThat(config.path("rank_pattern").path("layer.0.value").asInt()).isEqualTo(2);
    assertThat(config.path("alpha_pattern").path("layer.0.value").asInt()).isEqualTo(2);
    assertThat(config.path("target_modules").toString())
        .isEqualTo("[\"layer.0.query\",\"layer.0.value\"]");
  }

  @ParameterizedTest
  @ValueSource(strings = {"svd", "ties_svd", "magnitude_prune_svd", "dare_linear_svd"})
  void fullRankAndDensityAreExact(String type) {
    Path a = adapter("a", 2, 4, "base", Q);
    Path b = adapter("b", 3, 3, "base", Q);
    Path out = folder.resolve("out");
    new AdapterMerge(type, 1, 5, 0).merge(List.of(a, b), List.of(0.5, 0.5), out, Heads.MEAN, false);
    float[] merged = delta(out, Q);
    for (int i = 0; i < merged.length; i++) {
      float one = delta(a, Q)[i] / 2;
      float two = delta(b, Q)[i] / 2;
      boolean ties = type.startsWith("ties");
      float winner = Math.abs(one) >= Math.abs(two) ? one : two;
      float elected = one * two > 0 ? (one + two) / 2 : winner;
      assertThat(merged[i]).isCloseTo(ties ? elected : one + two, within(1e-5f));
    }
  }

  /** What each further type does to one module, against the method on its own. */
  @ParameterizedTest
  @ValueSource(strings = {"breadcrumbs_svd", "breadcrumbs_ties_svd", "pcb_svd"})
  void deltasMergeByTheMethod(String type) {
    Path a = adapter("a", 2, 4, "base", Q);
    Path b = adapter("b", 3, 3, "base", Q);
    Path out = folder.resolve("out");
    List<Double> weights = List.of(1.0, 0.5);
    new AdapterMerge(type, 0.5, 0.1, 1.5, 5, 0)
        .merge(List.of(a, b), weights, out, Heads.MEAN, true);
    ParameterLayout layout = ParameterLayout.of(Map.of("delta", List.of(30)));
    MergeMethod method =
        switch (type) {
          case "pcb_svd" -> new PcbMerging(0.5, 1.5, true);
          case "breadcrumbs_svd" -> new Breadcrumbs(0.5, 0.1, 1.5, Combination.LINEAR);
          default -> new Breadcrumbs(0.5, 0.1, 1.5, Combination.TIES_HF);
        };
    List<TaskVector> deltas =
        List.of(TaskVector.wrap(layout, delta(a, Q)), TaskVector.wrap(layout, delta(b, Q)));
    assertThat(delta(out, Q))
        .containsExactly(method.merge(deltas, weights).toArray(), within(1e-5f));
  }

  @Test
  void knotsUnitesRanksAndIsExactWithoutTrimming() {
    Path a = adapter("a", 2, 4, "base", Q, V);
    Path b = adapter("b", 3, 3, "base", Q);
    Path out = folder.resolve("out");
    AdapterMerge knots = new AdapterMerge("knots", 1, 0.01, 2, 0, 0);
    AdapterMerge.Summary summary =
        knots.merge(List.of(a, b), List.of(1.0, 1.0), out, Heads.MEAN, false);
    assertThat(summary.rank()).isEqualTo(5);
    // V is in one adapter only: nothing to agree on, twice as large by lambda.
    float[] expected = delta(a, V);
    for (int i = 0; i < expected.length; i++) {
      expected[i] *= 2;
    }
    assertThat(delta(out, V)).containsExactly(expected, within(1e-4f));
    AdapterMerge narrow = new AdapterMerge("knots", 1, 0.01, 1, 2, 0);
    assertThat(narrow.check(List.of(a, b), List.of(1.0, 1.0), Heads.MEAN, false).rank())
        .isEqualTo(2);
  }

  @Test
  void lorahubAddsFactorsAsTheyAre() {
    Path a = adapter("a", 2, 4, "base", Q);
    Path c = adapter("c", 2, 4, "base", Q);
    Path out = folder.resolve("out");
    new AdapterMerge("lorahub", 1, 0, 0)
        .merge(List.of(a, c), List.of(1.0, 0.0), out, Heads.MEAN, false);
    // Weight 1 and 0: the first adapter, its scaling of 2 included.
    assertThat(delta(out, Q)).containsExactly(delta(a, Q), within(1e-5f));
    Path d = adapter("d", 2, 3, "base", Q);
    assertThatThrownBy(
            () ->
                new AdapterMerge("lorahub", 1, 0, 0)
                    .merge(List.of(a, d), List.of(1.0, 1.0), out, Heads.MEAN, false))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("one rank and one scaling");
  }

  @ParameterizedTest
  @ValueSource(strings = {"breadcrumbs", "breadcrumbs_ties", "pcb", "ties"})
  void lambdaScalesTheMergeOfFactors(String type) {
    Path a = adapter("a", 2, 4, "base", Q);
    Path c = adapter("c", 2, 4, "base", Q);
    Path out = folder.resolve("out");
    List<Double> ones = List.of(1.0, 1.0);
    AdapterMerge plain = new AdapterMerge(type, 0.6, 0.1, 1, 0, 0);
    plain.merge(List.of(a, c), ones, out, Heads.MEAN, false);
    float[] once = delta(out, Q);
    assertThat(once).isNotEqualTo(new float[once.length]);
    plain.with(0.6, 3).merge(List.of(a, c), ones, out, Heads.MEAN, false);
    float[] expected = new float[once.length];
    for (int i = 0; i < once.length; i++) {
      expected[i] = 3 * once[i];
    }
    assertThat(delta(out, Q)).containsExactly(expected, within(1e-4f));
  }

  @Test
  void headsCanBeLeftOut() {
    List<Path> experts = new ArrayList<>();
    for (int classes : new int[] {2, 3}) {
      Path expert = adapter("expert" + classes, 2, 4, "base", Q);
      AdapterDirectory read = AdapterDirectory.read(expert);
      List<TensorData> tensors = new ArrayList<>(read.tensors().values());
      tensors.add(
          TensorData.ofFloats(
              "base_model.model.classifier.weight", List.of(classes, 1), new float[classes]));
      ObjectNode config = read.config();
      config.putArray("modules_to_save").add("classifier");
      AdapterDirectory.write(expert, config, TensorData.byName(tensors));
      experts.add(expert);
    }
    Path out = folder.resolve("out");
    AdapterMerge cat = new AdapterMerge("cat", 1, 0, 0);
    List<Double> ones = List.of(1.0, 1.0);
    assertThatThrownBy(() -> cat.merge(experts, ones, out, Heads.MEAN, false))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("heads drop");
    cat.merge(experts, ones, out, Heads.DROP, false);
    AdapterDirectory merged = AdapterDirectory.read(out);
    assertThat(merged.tensors()).hasSize(2);
    assertThat(merged.config().path("modules_to_save").isNull()).isTrue();
  }

  @Test
  void aSetMergesOnMachinesThatDoNotSeeTheFolders() throws Exception {
    Path a = adapter("a", 2, 4, "base", Q);
    Path b = adapter("b", 3, 3, "base", Q);
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    new ObjectOutputStream(bytes).writeObject(AdapterSet.read(List.of(a, b), false));
    AdapterDirectory.write(
        a, AdapterDirectory.read(b).config(), AdapterDirectory.read(b).tensors());
    AdapterSet arrived =
        (AdapterSet)
            new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray())).readObject();
    MergedAdapter merged =
        new AdapterMerge("cat", 1, 0, 0).merge(arrived, List.of(1.0, 1.0), Heads.MEAN);
    assertThat(merged.summary().rank()).isEqualTo(5);
  }

  @Test
  void refusals() {
    Path a = adapter("a", 2, 4, "base", Q);
    Path b = adapter("b", 3, 3, "other/base", Q);
    Path out = folder.resolve("out");
    List<Double> ones = List.of(1.0, 1.0);
    AdapterMerge cat = new AdapterMerge("cat", 1, 0, 0);
    assertThatThrownBy(() -> cat.merge(List.of(a, b), ones, out, Heads.MEAN, false))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("different base models, base, other/base")
        .hasMessageContaining("--force");
    assertThat(cat.merge(List.of(a, b), ones, out, Heads.MEAN, true).rank()).isEqualTo(5);
    assertThatThrownBy(() -> cat.merge(List.of(a), List.of(1.0), out, Heads.MEAN, true))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("at least two");
    assertThatThrownBy(
            () -> cat.merge(List.of(a, b), List.of(1.0, Double.NaN), out, Heads.MEAN, true))
        .isInstanceOf(ConfigException.class);
    assertThatThrownBy(() -> new AdapterMerge("ties", 1, 1, 1, 0, 0)).hasMessageContaining("gamma");
    assertThatThrownBy(() -> new AdapterMerge("ties", 1, 0, Double.NaN, 0, 0))
        .hasMessageContaining("lambda");
    AdapterMerge linear = new AdapterMerge("linear", 1, 0, 0);
    assertThatThrownBy(() -> linear.merge(List.of(a, b), ones, out, Heads.MEAN, true))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("needs equal ranks")
        .hasMessageContaining("[2, 3]");
    assertThatThrownBy(() -> new AdapterMerge("ties", 0, 0, 0))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("density");
    assertThatThrownBy(() -> new AdapterMerge("tie", 1, 0, 0)).hasMessageContaining("got tie");
  }
}
