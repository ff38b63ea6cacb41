package org.sparkpeft.federated.client;

import java.io.Serializable;
import java.util.Collection;
import java.util.List;
import java.util.TreeSet;
import org.apache.spark.Partition;
import org.apache.spark.api.java.JavaRDD;
import org.apache.spark.rdd.PartitionCoalescer;
import org.apache.spark.rdd.PartitionGroup;
import org.apache.spark.rdd.RDD;
import scala.Option;

/**
 * Gives each Spark task several partitions of an RDD, in a given grouping; the others are not
 * touched. A task runs where one of its cached partitions is.
 */
final class PartitionsTogether implements PartitionCoalescer, Serializable {
  private static final long serialVersionUID = 1L;
  private final int[][] groups;

  private PartitionsTogether(int[][] groups) {
    this.groups = groups;
  }

  /**
   * @param groups the partitions of each task
   */
  static JavaRDD<byte[]> of(JavaRDD<byte[]> rdd, List<? extends Collection<Integer>> groups) {
    int[][] numbers =
        groups.stream()
            .map(group -> new TreeSet<>(group).stream().mapToInt(Integer::intValue).toArray())
            .toArray(int[][]::new);
    return rdd.rdd()
        .coalesce(numbers.length, false, Option.apply(new PartitionsTogether(numbers)), null)
        .toJavaRDD();
  }

  @Override
  public PartitionGroup[] coalesce(int maxPartitions, RDD<?> parent) {
    Partition[] all = parent.partitions();
    PartitionGroup[] result = new PartitionGroup[groups.length];
    for (int task = 0; task < groups.length; task++) {
      result[task] = new PartitionGroup(Option.empty());
      for (int partition : groups[task]) {
        result[task].partitions().$plus$eq(all[partition]);
      }
    }
    return result;
  }
}
