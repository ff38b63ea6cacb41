package org.sparkpeft.merge.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Objects;
import java.util.SortedMap;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.StoredModel;
import org.sparkpeft.core.io.StoredTensor;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.core.vector.TaskVector;
import org.sparkpeft.merge.method.Average;
import org.sparkpeft.merge.method.BlockwiseMethod;
import org.sparkpeft.merge.method.FisherBlocks;
import org.sparkpeft.merge.method.FisherMerging;
import org.sparkpeft.merge.method.RegMean;
import org.sparkpeft.merge.method.RegMeanLayer;
import org.sparkpeft.merge.method.Share;
import org.sparkpeft.merge.storage.Storage;

/** Methods that weigh models by files: Fisher information and Gram matrices. */
class WeighedMergeTest {
  private static final int OUT = 37;
  private static final int IN = 23;

  @TempDir private Path folder;

  private List<Path> models(int count) {
    List<Path> models = new ArrayList<>();
    for (int t = 1; t <= count; t++) {
      models.add(Models.write(folder.resolve("model" + t), t, DType.F32));
    }
    return models;
  }

  private static SortedMap<String, StoredTensor> stored(Path model) {
    return StoredModel.open(Storage.ANY, model.toString()).tensors();
  }

  /** Squares: none is negative. */
  private static float[] fisher(int model) {
    float[] values = Philox.of(3, "fisher", model).gaussian(Models.LAYOUT.size(), 0.01 * model);
    for (int i = 0; i < values.length; i++) {
      values[i] *= values[i];
    }
    return values;
  }

  private static ParameterVector merged(
      Path out, List<MergedTensor> tensors, long piece, long shard, int threads) {
    MergeSettings settings =
        new MergeSettings(out.toString(), Models.config(), new TreeMap<>(), shard, 1L << 30, piece);
    new CheckpointMerge(tensors, settings, Workers.threads(threads), MergeListener.NONE).run();
    return Models.read(out);
  }

  private static List<MergedTensor> fisherTensors(
      List<Path> models, List<Path> fishers, boolean normalise) {
    List<MergedTensor> tensors = new ArrayList<>();
    for (StoredTensor like : stored(models.get(0)).values()) {
      if (!like.dtype().isFloating()) {
        tensors.add(MergedTensor.copy(like.name(), like, like.dtype()));
        continue;
      }
      tensors.add(
          new MergedTensor(
              like.name(),
              like.shape(),
              DType.F32,
              models.stream().map(m -> stored(m).get(like.name())).toList(),
              null,
              new FisherBlocks(normalise, 1e-6),
              List.of(Share.of(1), Share.of(0.5), Share.of(2)).subList(0, models.size()),
              fishers.stream().map(m -> stored(m).get(like.name())).toList()));
    }
    return tensors;
  }

  private List<Path> fishers(int count) {
    List<Path> fishers = new ArrayList<>();
    for (int t = 1; t <= count; t++) {
      fishers.add(Models.write(folder.resolve("fisher" + t), fisher(t), DType.F32));
    }
    return fishers;
  }

  private static TaskVector vector(float[] values) {
    return TaskVector.wrap(Models.LAYOUT, values);
  }

  @Test
  void fisherEqualsTheMergeInMemory() {
    List<Path> models = models(3);
    List<Path> fishers = fishers(3);
    for (boolean normalise : new boolean[] {true, false}) {
      float[] expected =
          new FisherMerging(normalise, 1e-6)
              .merge(
                  models.stream().map(m -> vector(Models.read(m).toArray())).toList(),
                  List.of(vector(fisher(1)), vector(fisher(2)), vector(fisher(3))),
                  List.of(1.0, 0.5, 2.0))
              .toArray();
      ParameterVector whole =
          merged(
              folder.resolve("f" + normalise),
              fisherTensors(models, fishers, normalise),
              1 << 22,
              1 << 30,
              1);
      for (int i = 0; i < expected.length; i++) {
        assertThat(whole.get(i)).isEqualTo(expected[i], within(1e-6f));
      }
      ParameterVector pieces =
          merged(
              folder.resolve("g" + normalise),
              fisherTensors(models, fishers, normalise),
              37,
              3000,
              2);
      assertThat(pieces).isEqualTo(whole);
    }
  }

  @Test
  void theOrderOfModelsChangesNoBit() {
    List<Path> models = models(2);
    List<Path> fishers = fishers(2);
    List<MergedTensor> forward = fisherTensors(models, fishers, true);
    List<MergedTensor> back = new ArrayList<>();
    for (MergedTensor tensor : forward) {
      back.add(tensor.method() == null ? tensor : tensor.ordered(1, 0));
    }
    assertThat(merged(folder.resolve("back"), back, 100, 1 << 30, 2))
        .isEqualTo(merged(folder.resolve("forward"), forward, 100, 1 << 30, 2));
  }

  @Test
  void negativeFisherInformationIsRefused() {
    List<Path> models = models(2);
    float[] bad = fisher(2);
    bad[5] = -1;
    List<Path> fishers =
        List.of(fishers(1).get(0), Models.write(folder.resolve("bad"), bad, DType.F32));
    assertThatThrownBy(
            () -> merged(folder.resolve("out"), fisherTensors(models, fishers, true), 100, 1000, 2))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("entry 5 of bias is -1.0")
        .hasMessageContaining("bad");
  }

  /** X^T X / n of n random rows. */
  private static float[] gram(int model) {
    int n = 100;
    float[] x = Philox.of(4, "inputs", model).gaussian(n * IN, 1);
    float[] gram = new float[IN * IN];
    for (int i = 0; i < IN; i++) {
      for (int j = 0; j < IN; j++) {
        double sum = 0;
        for (int row = 0; row < n; row++) {
          sum += x[row * IN + i] * x[row * IN + j];
        }
        gram[i * IN + j] = (float) (sum / n);
      }
    }
    return gram;
  }

  private StoredTensor gramFile(int model, float[] gram) {
    Path path = folder.resolve("gram" + model + Arrays.hashCode(gram));
    ModelDirectory.save(
        path,
        Models.config(),
        TensorData.byName(List.of(TensorData.ofFloats("w.gram", List.of(IN, IN), gram, DType.F32))),
        List.of());
    return Objects.requireNonNull(stored(path).get("w.gram"));
  }

  private List<MergedTensor> regMeanTensors(List<Path> models, List<StoredTensor> grams) {
    List<Share> shares = Collections.nCopies(models.size(), Share.of(1));
    List<MergedTensor> tensors = new ArrayList<>();
    for (StoredTensor like : stored(models.get(0)).values()) {
      if (!like.dtype().isFloating()) {
        continue;
      }
      boolean layer = like.name().equals("w");
      BlockwiseMethod method = layer ? new RegMeanLayer(0.9) : new Average();
      tensors.add(
          new MergedTensor(
              like.name(),
              like.shape(),
              DType.F32,
              models.stream().map(m -> stored(m).get(like.name())).toList(),
              null,
              method,
              shares,
              layer ? grams : List.of()));
    }
    return tensors;
  }

  @Test
  void regMeanEqualsTheMergeInMemory() {
    List<Path> models = models(3);
    List<StoredTensor> grams =
        List.of(gramFile(1, gram(1)), gramFile(2, gram(2)), gramFile(3, gram(3)));
    List<float[]> weights = models.stream().map(m -> Models.read(m).tensor("w")).toList();
    float[] expected = new RegMean(0.9).merge(OUT, IN, weights, List.of(gram(1), gram(2), gram(3)));
    List<MergedTensor> tensors = regMeanTensors(models, grams);
    ParameterVector whole = merged(folder.resolve("whole"), tensors, 1 << 22, 1 << 30, 1);
    assertThat(whole.tensor("w")).containsExactly(expected, within(1e-5f));
    List<TaskVector> vectors = models.stream().map(m -> vector(Models.read(m).toArray())).toList();
    float[] mean = new Average().merge(vectors).toArray();
    ParameterLayout.Entry bias = Models.LAYOUT.entries().get(0);
    assertThat(bias.name()).isEqualTo("bias");
    assertThat(whole.tensor("bias")).isEqualTo(Arrays.copyOf(mean, bias.size()));
    assertThat(merged(folder.resolve("pieces"), tensors, 37, 3000, 2)).isEqualTo(whole);
  }

  @Test
  void regMeanNeedsGramMatricesAndMemoryForThem() {
    List<Path> models = models(2);
    float[] wrong = new float[IN * IN];
    Arrays.fill(wrong, -1);
    List<MergedTensor> bad =
        regMeanTensors(models, List.of(gramFile(1, wrong), gramFile(2, wrong)));
    assertThatThrownBy(() -> merged(folder.resolve("bad"), bad, 100, 1000, 1))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("w are not positive definite");
    float[] nan = gram(1);
    nan[7] = Float.NaN;
    List<MergedTensor> notFinite =
        regMeanTensors(models, List.of(gramFile(1, nan), gramFile(2, gram(2))));
    assertThatThrownBy(() -> merged(folder.resolve("nan"), notFinite, 100, 1000, 1))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("contains NaN");
    List<MergedTensor> fine =
        regMeanTensors(models, List.of(gramFile(1, gram(1)), gramFile(2, gram(2))));
    assertThatThrownBy(() -> ReadPlan.of(fine, 1000, 64 << 20))
        .isInstanceOf(DataException.class)
        .hasMessageContaining("merging ")
        .hasMessageContaining("use fewer threads");
  }
}
