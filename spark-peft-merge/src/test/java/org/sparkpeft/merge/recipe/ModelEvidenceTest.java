package org.sparkpeft.merge.recipe;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.error.ConfigException;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.StoredTensor;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.merge.method.Average;
import org.sparkpeft.merge.method.FisherBlocks;
import org.sparkpeft.merge.method.PcbMerging;
import org.sparkpeft.merge.method.RegMeanLayer;
import org.sparkpeft.merge.spark.MergedTensor;

/** Recipes whose methods weigh models by files of their own. */
class ModelEvidenceTest {
  @TempDir private Path folder;

  private final List<MergeRecipe.Model> models = new ArrayList<>();

  private static TensorData floats(String name, int seed, Integer... shape) {
    int size = 1;
    for (int length : shape) {
      size *= length;
    }
    return TensorData.ofFloats(
        name, List.of(shape), Philox.of(seed, name).gaussian(size, 1), DType.F32);
  }

  private String save(String name, TensorData... tensors) {
    Path path = folder.resolve(name);
    ModelDirectory.save(
        path,
        new ObjectMapper().createObjectNode().put("model_type", "tiny"),
        TensorData.byName(List.of(tensors)),
        List.of());
    return path.toString();
  }

  @BeforeEach
  void writeModels() {
    for (int t = 0; t < 2; t++) {
      String path =
          save(
              "model" + t,
              floats("a.weight", 1, 5, 3),
              floats("a.bias", 1, 5),
              floats("b.weight", 1, 2, 4));
      models.add(new MergeRecipe.Model(path, Map.of()));
    }
  }

  private List<MergedTensor> tensors(String method, String... files) {
    List<MergeRecipe.Model> given = new ArrayList<>();
    for (int i = 0; i < models.size(); i++) {
      String file = files.length == 0 ? "" : files[i] + "/model.safetensors";
      given.add(new MergeRecipe.Model(models.get(i).path(), Map.of(), file));
    }
    MergeRecipe recipe =
        new MergeRecipe(
            given,
            List.of(),
            method.equals("pcb") ? models.get(0).path() : "",
            method,
            Map.of(),
            MergeRecipe.Options.defaults(),
            false,
            Optional.empty());
    return new CheckpointRecipe(recipe, false).tensors();
  }

  private static MergedTensor tensor(List<MergedTensor> tensors, String name) {
    return tensors.stream().filter(t -> t.name().equals(name)).findFirst().orElseThrow();
  }

  @Test
  void linearLayersGetTheirGramMatricesAndTheRestIsAveraged() {
    String one = save("gram0", floats("a.gram", 1, 3, 3));
    String two = save("gram1", floats("a.gram", 2, 3, 3));
    List<MergedTensor> merged = tensors("regmean", one, two);
    MergedTensor layer = tensor(merged, "a.weight");
    assertThat(layer.method()).isEqualTo(new RegMeanLayer(0.9));
    assertThat(layer.evidence())
        .extracting(StoredTensor::file)
        .containsExactly(one + "/model.safetensors", two + "/model.safetensors");
    assertThat(tensor(merged, "a.bias").method()).isEqualTo(new Average());
    assertThat(tensor(merged, "b.weight").evidence()).isEmpty();
  }

  @Test
  void fisherInformationComesWithEveryTensor() {
    TensorData[] all = {
      floats("a.weight", 3, 5, 3), floats("a.bias", 3, 5), floats("b.weight", 3, 2, 4)
    };
    List<MergedTensor> merged = tensors("fisher", save("f0", all), save("f1", all));
    assertThat(merged).hasSize(3);
    for (MergedTensor tensor : merged) {
      assertThat(tensor.method()).isEqualTo(new FisherBlocks(true, 1e-6));
      assertThat(tensor.evidence()).extracting(StoredTensor::name).containsOnly(tensor.name());
    }
  }

  @Test
  void whatIsMissingIsNamed() {
    assertThatThrownBy(() -> tensors("fisher"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("model0")
        .hasMessageContaining("fisher: FILE");
    assertThatThrownBy(() -> tensors("regmean", "/none", "/none"))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("no file /none/model.safetensors");
    String full = save("full", floats("a.gram", 1, 3, 3), floats("b.gram", 1, 4, 4));
    String part = save("part", floats("a.gram", 1, 3, 3));
    assertThatThrownBy(() -> tensors("regmean", full, part))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("has no b.gram")
        .hasMessageContaining("or of none");
    assertThatThrownBy(() -> tensors("fisher", full, part))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("has no a.bias");
    String wide = save("wide", floats("a.gram", 1, 5, 5));
    assertThatThrownBy(() -> tensors("regmean", wide, wide))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("a.gram is F32 [5, 5]")
        .hasMessageContaining("must be floats of shape [3, 3]");
    String typo = save("typo", floats("c.gram", 1, 3, 3));
    assertThatThrownBy(() -> tensors("regmean", typo, typo))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("is no Gram matrix")
        .hasMessageContaining("c.gram");
  }

  @Test
  void pcbTakesWholeVectors() {
    String third =
        save(
            "model2",
            floats("a.weight", 1, 5, 3),
            floats("a.bias", 1, 5),
            floats("b.weight", 1, 2, 4));
    models.add(new MergeRecipe.Model(third, Map.of()));
    assertThat(tensors("pcb"))
        .allSatisfy(tensor -> assertThat(tensor.method()).isEqualTo(new PcbMerging(0.1, 1, true)));
  }
}
