package org.sparkpeft.federated.client;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.apache.spark.Partitioner;

/**
 * Gives each shard its partition: one shard a partition, largest first, so that the longest work
 * starts first; beyond {@link #MAX_PARTITIONS} shards, several share one.
 */
final class ShardPartitioner extends Partitioner {
  private static final long serialVersionUID = 1L;

  /** Spark's bookkeeping for a partition costs more than a small shard. */
  static final int MAX_PARTITIONS = 2048;

  private final HashMap<String, Integer> partitionOf = new HashMap<>();
  private final int partitions;

  /**
   * @param names shard names, largest shard first
   */
  ShardPartitioner(List<String> names) {
    partitions = Math.max(1, Math.min(MAX_PARTITIONS, names.size()));
    for (int i = 0; i < names.size(); i++) {
      partitionOf.put(names.get(i), i % partitions);
    }
  }

  /** Shard names in the order this class wants them: by size descending, then by name. */
  static List<String> largestFirst(Map<String, Long> sizes) {
    return sizes.entrySet().stream()
        .sorted(
            Map.Entry.<String, Long>comparingByValue()
                .reversed()
                .thenComparing(Map.Entry.comparingByKey()))
        .map(Map.Entry::getKey)
        .toList();
  }

  @Override
  public int numPartitions() {
    return partitions;
  }

  @Override
  public int getPartition(Object name) {
    return Objects.requireNonNull(partitionOf.get((String) name), () -> "unknown shard " + name);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof ShardPartitioner that
        && partitions == that.partitions
        && partitionOf.equals(that.partitionOf);
  }

  @Override
  public int hashCode() {
    return partitionOf.hashCode();
  }
}
