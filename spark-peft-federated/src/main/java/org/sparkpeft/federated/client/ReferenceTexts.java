package org.sparkpeft.federated.client;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import org.apache.spark.HashPartitioner;
import org.apache.spark.api.java.JavaPairRDD;
import org.apache.spark.api.java.JavaRDD;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.storage.StorageLevel;
import scala.Tuple2;

/**
 * Test rows as texts: what a model is asked and what it should say, in blocks that depend on the
 * rows' content only.
 */
public final class ReferenceTexts implements AutoCloseable {
  /** Rows that one call of a model generates for. */
  private static final int BLOCK = 64;

  private final JavaRDD<byte[]> blocks;

  private ReferenceTexts(JavaRDD<byte[]> blocks) {
    this.blocks = blocks;
  }

  /**
   * Takes rows.
   *
   * @param count rows there are
   * @param most rows to keep, those whose hash is lowest; 0 for all
   */
  static ReferenceTexts of(
      Dataset<Row> rows, DataColumns columns, RowReader reader, long count, int most) {
    long kept = most == 0 ? count : Math.min(count, most);
    long blocks = Math.max(1, (kept + BLOCK - 1) / BLOCK);
    int parallel = rows.sparkSession().sparkContext().defaultParallelism();
    int partitions = (int) Math.min(blocks, 4L * parallel);
    JavaPairRDD<Integer, Tuple2<String, byte[]>> numbered =
        ExampleShards.select(rows, columns.withoutClient())
            .toJavaRDD()
            .mapToPair(
                row -> {
                  RawExample example = reader.read(row);
                  return new Tuple2<>(example.sortKey(0, 0), example.toBytes());
                })
            .sortByKey()
            .zipWithIndex()
            .filter(indexed -> indexed._2() < kept)
            // Neighbours go to different blocks, so that blocks are equally long.
            .mapToPair(indexed -> new Tuple2<>((int) (indexed._2() % blocks), indexed._1()));
    return new ReferenceTexts(
        numbered
            .groupByKey(new HashPartitioner(partitions))
            .map(group -> sorted(group._2()))
            .persist(StorageLevel.MEMORY_AND_DISK()));
  }

  /** The rows of a block, in the order of their keys, each behind its length. */
  private static byte[] sorted(Iterable<Tuple2<String, byte[]>> group) {
    List<Tuple2<String, byte[]>> rows = new ArrayList<>();
    group.forEach(rows::add);
    rows.sort(Comparator.comparing(Tuple2::_1));
    int size = rows.stream().mapToInt(row -> Integer.BYTES + row._2().length).sum();
    ByteBuffer bytes = ByteBuffer.allocate(size);
    rows.forEach(row -> bytes.putInt(row._2().length).put(row._2()));
    return bytes.array();
  }

  /** The rows of a block that {@link #blocks} holds. */
  static List<RawExample> rows(byte[] block) {
    List<RawExample> rows = new ArrayList<>();
    ByteBuffer bytes = ByteBuffer.wrap(block);
    while (bytes.hasRemaining()) {
      byte[] row = new byte[bytes.getInt()];
      bytes.get(row);
      rows.add(RawExample.fromBytes(row));
    }
    return rows;
  }

  /** For each block its rows, as bytes. */
  JavaRDD<byte[]> blocks() {
    return blocks;
  }

  @Override
  public void close() {
    blocks.unpersist(false);
  }
}
