package org.sparkpeft.merge.adapter;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.sparkpeft.merge.adapter.AdapterMerge.Heads;
import org.sparkpeft.merge.method.LoraModule;

/**
 * What Hugging Face PEFT's add_weighted_adapter makes of the same adapters. Skipped where the
 * reference numbers, in a folder {@code shared} beside the project, are absent.
 */
class AdapterMergeGoldenTest {
  @TempDir private Path folder;

  private static Path golden(String name) {
    for (Path dir = Path.of("").toAbsolutePath(); dir != null; dir = dir.getParent()) {
      Path found = dir.resolve("shared/golden").resolve(name);
      if (Files.isDirectory(found)) {
        return found;
      }
    }
    Assumptions.abort("no reference numbers for " + name);
    return Path.of("");
  }

  @ParameterizedTest
  @CsvSource({
    "minilm-weighted, linear",
    "minilm-weighted, cat",
    "minilm-weighted, cat_stabilised_first",
    "minilm-weighted, svd",
    "minilm-weighted, ties",
    "minilm-weighted, magnitude_prune",
    "stories-weighted, linear",
    "stories-weighted, linear_negative",
    "stories-weighted, cat",
    "stories-weighted, svd",
    "stories-weighted, svd_rank3",
    "stories-weighted, ties",
    "stories-weighted, ties_svd",
    "stories-weighted, magnitude_prune",
    "stories-weighted, magnitude_prune_svd"
  })
  void givesTheSameDeltas(String name, String combination) throws IOException {
    Path dir = golden(name);
    JsonNode json = new ObjectMapper().readTree(dir.resolve("golden.json").toFile());
    JsonNode expected = json.path("combinations").path(combination);
    JsonNode arguments = expected.path("arguments");
    String type = arguments.path("combination_type").asText();
    List<Path> adapters = new ArrayList<>();
    List<Double> weights = new ArrayList<>();
    for (JsonNode adapter : arguments.path("adapters")) {
      adapters.add(dir.resolve("inputs").resolve(adapter.asText()));
    }
    for (JsonNode weight : arguments.path("weights")) {
      weights.add(weight.asDouble());
    }
    int rank = expected.path("rank").asInt();
    AdapterMerge merge = new AdapterMerge(type, arguments.path("density").asDouble(1), rank, 0);
    Path out = folder.resolve("out");
    assertThat(merge.merge(adapters, weights, out, Heads.MEAN, true).rank()).isEqualTo(rank);

    LoraAdapter merged = LoraAdapter.read(out);
    // PEFT leaves use_rslora of the first adapter on, which makes its result too large.
    double excess = combination.equals("cat_stabilised_first") ? Math.sqrt(rank) : 1;
    expected
        .path("delta_norms")
        .properties()
        .forEach(
            norm -> {
              double sum = 0;
              for (float value : delta(merged, norm.getKey())) {
                sum += (double) value * value;
              }
              double size = norm.getValue().asDouble() / excess;
              assertThat(Math.sqrt(sum)).as(norm.getKey()).isCloseTo(size, within(2e-5 * size));
            });
    assertThat(expected.path("samples")).isNotEmpty();
    StreamSupport.stream(expected.path("samples").spliterator(), false)
        .forEach(
            sample -> {
              float[] delta = delta(merged, sample.path("module").asText());
              assertThat((double) delta[sample.path("flat_index").asInt()])
                  .as(sample.toString())
                  .isCloseTo(sample.path("delta").asDouble() / excess, within(2e-5));
            });
  }

  private static float[] delta(LoraAdapter adapter, String module) {
    LoraModule found = adapter.modules().get(LoraAdapter.PREFIX + module);
    if (found == null) {
      throw new AssertionError("no module " + module + " in " + adapter.modules().keySet());
    }
    return found.deltaWeight();
  }
}
