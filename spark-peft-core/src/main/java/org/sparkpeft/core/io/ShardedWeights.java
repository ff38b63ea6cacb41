package org.sparkpeft.core.io;

import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.vector.ParameterLayout;

/** The weights of a model directory: one safetensors file, or the shards that an index lists. */
final class ShardedWeights implements WeightSource {
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
    SortedMap<String, SafetensorsFile> shards = new TreeMap<>();
    SortedMap<String, SafetensorsFile> fileOf = new TreeMap<>(ParameterLayout.UTF8_ORDER);
    ShardIndex.read(FileSource.LOCAL, index.toString())
        .forEach(
            (tensor, name) -> {
              SafetensorsFile shard =
                  shards.computeIfAbsent(name, missing -> openShard(index, missing));
              if (!shard.contains(tensor)) {
                throw ShardIndex.notIn(index.toString(), tensor, name);
              }
              fileOf.put(tensor, shard);
            });
    return new ShardedWeights(index, fileOf);
  }

  private static SafetensorsFile openShard(Path index, String name) {
    Path shard = index.resolveSibling(name);
    if (!Files.isRegularFile(shard)) {
      throw ShardIndex.missing(index.toString(), name);
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
