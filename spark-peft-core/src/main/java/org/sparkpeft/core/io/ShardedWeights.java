package org.sparkpeft.core.io;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.vector.ParameterLayout;

/** The weights of a model directory: one safetensors file, or the shards that an index lists. */
final class ShardedWeights implements WeightSource {
  private static final int MAX_INDEX_BYTES = 100_000_000;

  private final Path source;
  private final SortedMap<String, SafetensorsFile> fileOf;

  private ShardedWeights(Path source, SortedMap<String, SafetensorsFile> fileOf) {
    this.source = source;
    this.fileOf = fileOf;
  }

  static ShardedWeights ofFile(Path file) {
    SafetensorsFile weights = SafetensorsFile.open(file);
    SortedMap<String, SafetensorsFile> fileOf = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    weights.names().forEach(name -> fileOf.put(name, weights));
    return new ShardedWeights(file, fileOf);
  }

  /**
   * Opens every shard of an index and checks that it holds what the index says.
   *
   * @throws FormatException if the index is malformed or names anything but files beside it
   * @throws DataException if a shard or a tensor is missing
   */
  static ShardedWeights ofIndex(Path index) {
    ObjectNode json = Json.readObject(index, MAX_INDEX_BYTES);
    if (!(json.get("weight_map") instanceof ObjectNode map) || map.isEmpty()) {
      throw new FormatException(
          index.toString(), "needs \"weight_map\": {tensor: file}; download it again");
    }
    SortedMap<String, SafetensorsFile> shards = new TreeMap<>();
    SortedMap<String, SafetensorsFile> fileOf = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    for (Map.Entry<String, JsonNode> entry : map.properties()) {
      String tensor = entry.getKey();
      String name = shardName(index, tensor, entry.getValue());
      SafetensorsFile shard = shards.get(name);
      if (shard == null) {
        shard = openShard(index, name);
        shards.put(name, shard);
      }
      if (!shard.contains(tensor)) {
        throw new DataException(
            index
                + " places "
                + tensor
                + " in "
                + name
                + ", which does not hold it; download both again");
      }
      fileOf.put(tensor, shard);
    }
    return new ShardedWeights(index, fileOf);
  }

  /** A stranger's index must not be able to read files elsewhere. */
  private static String shardName(Path index, String tensor, JsonNode value) {
    String name = value.isTextual() ? value.textValue() : "";
    boolean plain =
        name.endsWith(".safetensors")
            && name.chars().allMatch(c -> c > ' ' && "/\\:".indexOf(c) < 0);
    if (!plain) {
      throw new FormatException(
          index.toString(),
          "places "
              + tensor
              + " in "
              + value
              + "; a shard must be the plain name of a .safetensors file beside the index");
    }
    return name;
  }

  private static SafetensorsFile openShard(Path index, String name) {
    Path shard = index.resolveSibling(name);
    if (!Files.isRegularFile(shard)) {
      throw new DataException(index + " lists the shard " + name + ", which is missing beside it");
    }
    return SafetensorsFile.open(shard);
  }

  @Override
  public Set<String> names() {
    return Collections.unmodifiableSet(fileOf.keySet());
  }

  @Override
  public boolean contains(String name) {
    return fileOf.containsKey(name);
  }

  /** The file that holds a tensor. */
  Path path(String name) {
    return file(name).path();
  }

  TensorInfo info(String name) {
    return file(name).info(name);
  }

  List<ByteBuffer> views(String name) {
    return file(name).views(name);
  }

  @Override
  public List<Integer> shape(String name) {
    return info(name).shape();
  }

  @Override
  public float[] floats(String name) {
    return file(name).floats(name);
  }

  @Override
  public TensorData tensor(String name) {
    return file(name).tensor(name);
  }

  @Override
  public void close() {
    fileOf.values().forEach(SafetensorsFile::close);
  }

  private SafetensorsFile file(String name) {
    SafetensorsFile file = fileOf.get(name);
    if (file == null) {
      throw new DataException(
          source + " has no tensor named " + name + " among its " + fileOf.size());
    }
    return file;
  }
}
