package org.sparkpeft.federated.client;

import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.spark.api.java.JavaPairRDD;
import org.apache.spark.api.java.JavaRDD;
import org.apache.spark.sql.Column;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.functions;
import org.apache.spark.storage.StorageLevel;
import org.sparkpeft.core.data.Examples;
import org.sparkpeft.core.error.DataException;
import scala.Tuple2;

/**
 * Encoded examples grouped by shard, held by the executors: a shard is a client, or a block of test
 * rows. What a shard holds, and in which order, depends on the rows' content, the seed and the
 * settings only.
 */
public final class ExampleShards implements AutoCloseable {
  private final JavaRDD<byte[]> shards;
  private final ShardPartitioner partitioner;
  private final SortedMap<String, ClientShard> headers;

  private ExampleShards(
      JavaRDD<byte[]> shards,
      ShardPartitioner partitioner,
      SortedMap<String, ClientShard> headers) {
    this.shards = shards;
    this.partitioner = partitioner;
    this.headers = headers;
  }

  /** Rows with the client that a column names. */
  static ExampleShards byColumn(
      Dataset<Row> rows, DataColumns columns, RowReader reader, RuntimeSpec runtime, long seed) {
    ColumnNames.require(rows, "clients.column", columns.client());
    Column client = rows.col(ColumnNames.quote(columns.client()));
    Map<String, Long> sizes = new TreeMap<>();
    for (Row row : rows.groupBy(client.cast("string").as("client")).count().collectAsList()) {
      if (row.isNullAt(0)) {
        throw new DataException(
            "clients.column: \""
                + columns.client()
                + "\" is null in "
                + row.getLong(1)
                + " rows; every row needs a client");
      }
      sizes.put(row.getString(0), row.getLong(1));
    }
    JavaPairRDD<String, Tuple2<String, byte[]>> keyed =
        select(rows, columns)
            .toJavaRDD()
            .mapToPair(
                row -> {
                  RawExample example = reader.read(row);
                  return new Tuple2<>(
                      row.getString(3), new Tuple2<>(example.sortKey(seed, 0), example.toBytes()));
                });
    return collect(keyed, sizes, runtime);
  }

  /**
   * Rows dealt out by a partitioner.
   *
   * @param labelCounts rows of each label in index order; one total where there are none
   * @param name names the shard with an index
   */
  static ExampleShards byPartitioner(
      Dataset<Row> rows,
      DataColumns columns,
      RowReader reader,
      RuntimeSpec runtime,
      long seed,
      ClientPartitioner partitioner,
      long[] labelCounts,
      ShardNames name) {
    long[] labelStarts = new long[labelCounts.length];
    for (int i = 1; i < labelStarts.length; i++) {
      labelStarts[i] = labelStarts[i - 1] + labelCounts[i - 1];
    }
    boolean byLabel = partitioner.byLabel();
    boolean rankWithinLabel = partitioner.rankWithinLabel();
    Map<String, Long> sizes = new TreeMap<>();
    ClientPartitioner.sizes(partitioner, labelCounts)
        .forEach((index, size) -> sizes.put(name.of(index), size));
    JavaPairRDD<String, Tuple2<String, byte[]>> keyed =
        select(rows, columns)
            .toJavaRDD()
            .mapToPair(
                row -> {
                  RawExample example = reader.read(row);
                  int group = byLabel ? example.targets().classIndex() : 0;
                  return new Tuple2<>(example.sortKey(seed, group), example.toBytes());
                })
            .sortByKey()
            .zipWithIndex()
            .mapToPair(
                indexed -> {
                  String key = indexed._1()._1();
                  int label = Integer.parseUnsignedInt(key.substring(0, 8), 16);
                  long rank = rankWithinLabel ? indexed._2() - labelStarts[label] : indexed._2();
                  return new Tuple2<>(name.of(partitioner.client(label, rank)), indexed._1());
                });
    return collect(keyed, sizes, runtime);
  }

  /** Names of shards from their indices. */
  interface ShardNames extends java.io.Serializable {
    String of(int index);
  }

  /** The columns in the order that {@link RowReader#read} takes. */
  static Dataset<Row> select(Dataset<Row> rows, DataColumns columns) {
    return rows.select(
        column(rows, columns.input()),
        column(rows, columns.pair()),
        column(rows, columns.label()),
        column(rows, columns.client()).cast("string"),
        column(rows, columns.rejected()),
        column(rows, columns.task()).cast("string"));
  }

  private static Column column(Dataset<Row> rows, String name) {
    return name.isEmpty() ? functions.lit(null) : rows.col(ColumnNames.quote(name));
  }

  private static ExampleShards collect(
      JavaPairRDD<String, Tuple2<String, byte[]>> keyed,
      Map<String, Long> sizes,
      RuntimeSpec runtime) {
    if (sizes.isEmpty()) {
      throw new DataException("the data has no rows; check data.train and data.test");
    }
    ShardPartitioner partitioner = new ShardPartitioner(ShardPartitioner.largestFirst(sizes));
    JavaRDD<byte[]> shards =
        keyed
            .groupByKey(partitioner)
            .mapPartitions(groups -> encode(groups, runtime), true)
            .persist(StorageLevel.MEMORY_AND_DISK());
    SortedMap<String, ClientShard> headers = new TreeMap<>();
    for (byte[] bytes : shards.map(shard -> ClientShard.fromBytes(shard).headerBytes()).collect()) {
      ClientShard header = ClientShard.fromBytes(bytes);
      headers.put(header.clientId(), header);
    }
    return new ExampleShards(shards, partitioner, Collections.unmodifiableSortedMap(headers));
  }

  private static Iterator<byte[]> encode(
      Iterator<Tuple2<String, Iterable<Tuple2<String, byte[]>>>> groups, RuntimeSpec runtime) {
    List<byte[]> shards = new ArrayList<>();
    ExampleEncoder encoder = ExecutorRuntime.of(runtime).encoder();
    groups.forEachRemaining(
        group -> {
          List<Tuple2<String, byte[]>> rows = new ArrayList<>();
          group._2().forEach(rows::add);
          rows.sort(Comparator.comparing(Tuple2::_1));
          shards.add(
              encoder
                  .shard(
                      group._1(), rows.stream().map(row -> RawExample.fromBytes(row._2())).toList())
                  .toBytes());
        });
    return shards.iterator();
  }

  /** Shard names, sorted. */
  public List<String> names() {
    return List.copyOf(headers.keySet());
  }

  /** Examples of each shard. */
  public SortedMap<String, Long> sizes() {
    SortedMap<String, Long> sizes = new TreeMap<>();
    headers.forEach((name, header) -> sizes.put(name, header.numExamples()));
    return sizes;
  }

  /** Examples of each label for each shard. */
  public SortedMap<String, List<Long>> labelCounts() {
    SortedMap<String, List<Long>> counts = new TreeMap<>();
    headers.forEach((name, header) -> counts.put(name, header.labelCounts()));
    return counts;
  }

  /** Examples in all. */
  public long numExamples() {
    return headers.values().stream().mapToLong(ClientShard::numExamples).sum();
  }

  /** Examples of one shard. */
  public long numExamples(String name) {
    return Objects.requireNonNull(headers.get(name), () -> "unknown shard " + name).numExamples();
  }

  /** The named shards by the index that their partition has among the selected ones. */
  Map<Integer, List<String>> clientsByTask(Set<String> names) {
    SortedMap<Integer, List<String>> byPartition = new TreeMap<>();
    names.forEach(
        name ->
            byPartition
                .computeIfAbsent(partitioner.getPartition(name), p -> new ArrayList<>())
                .add(name));
    Map<Integer, List<String>> byTask = new TreeMap<>();
    byPartition.values().forEach(clients -> byTask.put(byTask.size(), clients));
    return byTask;
  }

  /** One task for each group, with the partitions of its shards; they may hold others too. */
  JavaRDD<byte[]> together(List<List<String>> groups) {
    return PartitionsTogether.of(
        shards,
        groups.stream()
            .map(group -> group.stream().map(partitioner::getPartition).toList())
            .toList());
  }

  /** Every shard, one partition each, largest first. */
  JavaRDD<byte[]> all() {
    return shards;
  }

  /** Only the partitions that hold the named shards; they may hold others too. */
  JavaRDD<byte[]> partitionsWith(Set<String> names) {
    Set<Integer> partitions = new TreeSet<>();
    names.forEach(name -> partitions.add(partitioner.getPartition(name)));
    return PartitionsOf.select(shards, partitions);
  }

  /** All shards' examples in one place, shard after shard by name. */
  public Examples pooled() {
    List<ClientShard> all = new ArrayList<>();
    shards.collect().forEach(bytes -> all.add(ClientShard.fromBytes(bytes)));
    all.sort(Comparator.comparing(ClientShard::clientId));
    return Examples.concat(
        all.stream().map(shard -> Examples.fromArrow(shard.arrow().array())).toList());
  }

  @Override
  public void close() {
    shards.unpersist(false);
  }
}
