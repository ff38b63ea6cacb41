package org.sparkpeft.merge.spark;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.core.io.StoredModel;
import org.sparkpeft.core.io.StoredTensor;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.io.WeightSource;
import org.sparkpeft.core.random.Philox;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.ParameterVector;
import org.sparkpeft.merge.method.BlockwiseMethod;
import org.sparkpeft.merge.method.Share;
import org.sparkpeft.merge.storage.Storage;

/** Small model directories for merge tests. */
final class Models {
  static final ParameterLayout LAYOUT =
      ParameterLayout.of(
          Map.of(
              "bias", List.of(19),
              "deep", List.of(3, 5, 7),
              "embed", List.of(211, 11),
              "scale", List.of(),
              "w", List.of(37, 23)));

  private Models() {}

  static ObjectNode config() {
    return new ObjectMapper().createObjectNode().put("model_type", "tiny");
  }

  /** A base, or with {@code model} from 1 a fine-tuned one of it. */
  static Path write(Path folder, int model, DType dtype) {
    float[] values = Philox.of(1, "base").gaussian(LAYOUT.size(), 0.5);
    float[] change = Philox.of(2, "change", model).gaussian(LAYOUT.size(), model == 0 ? 0 : 0.05);
    for (int i = 0; i < values.length; i++) {
      values[i] += change[i];
    }
    return write(folder, values, dtype);
  }

  static Path write(Path folder, float[] values, DType dtype) {
    List<TensorData> tensors = new ArrayList<>();
    ParameterVector vector = ParameterVector.wrap(LAYOUT, values);
    for (ParameterLayout.Entry entry : LAYOUT.entries()) {
      tensors.add(
          TensorData.ofFloats(entry.name(), entry.shape(), vector.tensor(entry.name()), dtype));
    }
    tensors.add(TensorData.ofLongs("position_ids", List.of(4), new long[] {0, 1, 2, 3}, DType.I64));
    ModelDirectory.save(folder, config(), TensorData.byName(tensors), List.of());
    return folder;
  }

  /** All floating tensors as one vector. */
  static ParameterVector read(Path folder) {
    float[] values = new float[LAYOUT.size()];
    try (WeightSource weights = ModelDirectory.open(folder).weights()) {
      for (ParameterLayout.Entry entry : LAYOUT.entries()) {
        System.arraycopy(weights.floats(entry.name()), 0, values, entry.offset(), entry.size());
      }
    }
    return ParameterVector.wrap(LAYOUT, values);
  }

  /** Every tensor merged alike; integers copied. */
  static List<MergedTensor> tensors(
      Path base, List<Path> models, BlockwiseMethod method, List<Share> shares, DType dtype) {
    return tensors(
        base.toString(), models.stream().map(Path::toString).toList(), method, shares, dtype);
  }

  private static SortedMap<String, StoredTensor> stored(String location) {
    return StoredModel.open(Storage.ANY, Storage.absolute(location)).tensors();
  }

  /** The same of models anywhere. */
  static List<MergedTensor> tensors(
      String base, List<String> models, BlockwiseMethod method, List<Share> shares, DType dtype) {
    SortedMap<String, StoredTensor> reference = stored(base);
    List<SortedMap<String, StoredTensor>> all = new ArrayList<>();
    models.forEach(model -> all.add(stored(model)));
    List<MergedTensor> merged = new ArrayList<>();
    reference.forEach(
        (name, stored) -> {
          if (stored.dtype().isFloating()) {
            List<StoredTensor> sources = all.stream().map(model -> model.get(name)).toList();
            merged.add(
                new MergedTensor(name, stored.shape(), dtype, sources, stored, method, shares));
          } else {
            merged.add(MergedTensor.copy(name, stored, stored.dtype()));
          }
        });
    return merged;
  }
}
