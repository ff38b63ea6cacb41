package org.sparkpeft.merge.adapter;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.AdapterDirectory;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.merge.method.LoraModule;

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
        new AdapterMerge("cat", 1, 0, 0).merge(List.of(a, b), List.of(0.5, -2.0), out, false);

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
    new AdapterMerge(type, 1, 5, 0).merge(List.of(a, b), List.of(0.5, 0.5), out, false);
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

  @Test
  void refusals() {
    Path a = adapter("a", 2, 4, "base", Q);
    Path b = adapter("b", 3, 3, "other/base", Q);
    Path out = folder.resolve("out");
    List<Double> ones = List.of(1.0, 1.0);
    AdapterMerge cat = new AdapterMerge("cat", 1, 0, 0);
    assertThatThrownBy(() -> cat.merge(List.of(a, b), ones, out, false))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("different base models, base, other/base")
        .hasMessageContaining("--force");
    assertThat(cat.merge(List.of(a, b), ones, out, true).rank()).isEqualTo(5);
    assertThatThrownBy(() -> cat.merge(List.of(a), List.of(1.0), out, true))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("at least two");
    assertThatThrownBy(() -> cat.merge(List.of(a, b), List.of(1.0, Double.NaN), out, true))
        .isInstanceOf(ConfigException.class);
    AdapterMerge linear = new AdapterMerge("linear", 1, 0, 0);
    assertThatThrownBy(() -> linear.merge(List.of(a, b), ones, out, true))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("needs equal ranks")
        .hasMessageContaining("[2, 3]");
    assertThatThrownBy(() -> new AdapterMerge("ties", 0, 0, 0))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("density");
    assertThatThrownBy(() -> new AdapterMerge("tie", 1, 0, 0)).hasMessageContaining("got tie");
  }
}
