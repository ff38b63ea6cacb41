package org.sparkpeft.merge.spark;

import java.util.ArrayList;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.io.SafetensorsWriter;
import org.sparkpeft.core.io.TensorInfo;
import org.sparkpeft.core.vector.ParameterLayout;

/**
 * How a model is cut into files: in the order of names, a new one when the next tensor would exceed
 * the limit, named as Hugging Face names them.
 */
final class ShardPlan {

  /**
   * One file.
   *
   * @param name its name
   * @param layout header and places
   * @param tensors by name
   */
  record Shard(
      String name, SafetensorsWriter.Layout layout, SortedMap<String, MergedTensor> tensors) {}

  private ShardPlan() {}

  static List<Shard> of(List<MergedTensor> tensors, long maxBytes) {
    List<MergedTensor> ordered = new ArrayList<>(tensors);
    ordered.sort((a, b) -> ParameterLayout.UTF8_ORDER.compare(a.name(), b.name()));
    List<List<MergedTensor>> groups = new ArrayList<>();
    long open = Long.MAX_VALUE;
    for (MergedTensor tensor : ordered) {
      if (groups.isEmpty() || open + tensor.bytes() > maxBytes) {
        groups.add(new ArrayList<>());
        open = 0;
      }
      groups.get(groups.size() - 1).add(tensor);
      open += tensor.bytes();
    }
    List<Shard> shards = new ArrayList<>();
    for (int i = 0; i < groups.size(); i++) {
      String name =
          groups.size() == 1
              ? "model.safetensors"
              : "model-%05d-of-%05d.safetensors".formatted(i + 1, groups.size());
      shards.add(shard(name, groups.get(i)));
    }
    return shards;
  }

  private static Shard shard(String name, List<MergedTensor> tensors) {
    SortedMap<String, MergedTensor> byName = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    List<TensorInfo> infos = new ArrayList<>();
    for (MergedTensor tensor : tensors) {
      byName.put(tensor.name(), tensor);
      infos.add(new TensorInfo(tensor.name(), tensor.dtype(), tensor.shape(), 0, tensor.bytes()));
    }
    return new Shard(
        name, SafetensorsWriter.layout(infos, SafetensorsWriter.DEFAULT_METADATA), byName);
  }
}
