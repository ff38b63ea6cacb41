package org.sparkpeft.federated.cli;

import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.SafetensorsFile;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.io.TensorInfo;
import org.sparkpeft.core.io.WeightSource;

/** What a set of stored tensors amounts to. */
final class Tensors {
  private final Map<String, String> shown = new LinkedHashMap<>();
  private final SortedMap<DType, Long> elements = new TreeMap<>();
  private long bytes;

  static Tensors of(WeightSource weights) {
    Tensors tensors = new Tensors();
    for (String name : weights.names()) {
      // The header tells the type of a tensor of any size; elsewhere the mapped tensor does.
      if (weights instanceof SafetensorsFile file) {
        TensorInfo info = file.info(name);
        tensors.add(name, info.dtype(), info.shape());
      } else {
        tensors.add(name, weights.tensor(name).dtype(), weights.shape(name));
      }
    }
    return tensors;
  }

  static Tensors of(Collection<TensorData> data) {
    Tensors tensors = new Tensors();
    data.forEach(tensor -> tensors.add(tensor.name(), tensor.dtype(), tensor.shape()));
    return tensors;
  }

  private void add(String name, DType dtype, List<Integer> shape) {
    long count = 1;
    for (int dimension : shape) {
      count *= dimension;
    }
    elements.merge(dtype, count, Long::sum);
    bytes += count * dtype.bytes();
    shown.put(name, dtype + " " + shape);
  }

  void addTo(Inspection.Sheet sheet, boolean list) {
    sheet.add("parameters", elements.values().stream().mapToLong(Long::longValue).sum());
    sheet.add(
        "dtype", elements.keySet().stream().map(DType::toString).collect(Collectors.joining(", ")));
    sheet.add("bytes", bytes);
    sheet.add("tensors", (long) shown.size());
    if (list) {
      sheet.add("tensor_list", shown);
    }
  }
}
