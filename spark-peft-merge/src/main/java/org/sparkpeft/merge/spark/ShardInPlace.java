package org.sparkpeft.merge.spark;

import java.io.IOException;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.function.LongConsumer;

/**
 * Writes a shard where files can be filled from several places at once: it is laid out under a
 * temporary name, all workers merge pieces into it, and then it gets its name.
 */
final class ShardInPlace {
  private ShardInPlace() {}

  /**
   * Pieces of one file.
   *
   * @param file the file to write into
   */
  private record Batch(String file, List<PieceMerge.Task> tasks, ReadPlan reading)
      implements Serializable {}

  /**
   * Merges a shard.
   *
   * @param tasks its pieces
   * @param pieceEntries entries of a batch
   */
  static void write(
      BuildFolder folder,
      ShardPlan.Shard shard,
      List<PieceMerge.Task> tasks,
      ReadPlan reading,
      Workers workers,
      long pieceEntries,
      LongConsumer progress)
      throws IOException {
    String temporary = folder.file(shard.name() + ".part");
    allocate(Path.of(temporary), shard);
    List<Batch> batches = batches(temporary, tasks, reading, pieceEntries);
    List<PieceMerge.Written> written = new ArrayList<>();
    workers.run(batches, ShardInPlace::run, progress).forEach(written::addAll);
    String file = folder.file(shard.name());
    folder.storage().rename(temporary, file);
    MergeJournal.finished(folder.storage(), file, written);
  }

  private static void allocate(Path file, ShardPlan.Shard shard) throws IOException {
    try (FileChannel channel =
        FileChannel.open(
            file,
            StandardOpenOption.CREATE,
            StandardOpenOption.TRUNCATE_EXISTING,
            StandardOpenOption.WRITE)) {
      ByteBuffer header = shard.layout().header().duplicate();
      writeFully(channel, header, 0);
      if (shard.layout().fileBytes() > header.limit()) {
        channel.write(ByteBuffer.wrap(new byte[1]), shard.layout().fileBytes() - 1);
      }
    }
  }

  private static List<Batch> batches(
      String file, List<PieceMerge.Task> tasks, ReadPlan reading, long pieceEntries) {
    List<Batch> batches = new ArrayList<>();
    List<PieceMerge.Task> open = new ArrayList<>();
    long entries = 0;
    for (PieceMerge.Task task : tasks) {
      open.add(task);
      entries += task.to() - task.from();
      if (entries >= pieceEntries) {
        batches.add(new Batch(file, List.copyOf(open), reading));
        open.clear();
        entries = 0;
      }
    }
    if (!open.isEmpty()) {
      batches.add(new Batch(file, List.copyOf(open), reading));
    }
    return batches;
  }

  private static List<PieceMerge.Written> run(Batch batch, LongConsumer progress) {
    List<PieceMerge.Written> written = new ArrayList<>();
    try (FileChannel file = FileChannel.open(Path.of(batch.file()), StandardOpenOption.WRITE)) {
      for (PieceMerge.Task task : batch.tasks()) {
        written.add(
            PieceMerge.run(
                task,
                batch.reading(),
                (bytes, position) -> writeFully(file, bytes, position),
                progress));
      }
    } catch (IOException e) {
      throw new UncheckedIOException("cannot write " + batch.file(), e);
    }
    return written;
  }

  private static void writeFully(FileChannel file, ByteBuffer bytes, long position)
      throws IOException {
    long at = position;
    while (bytes.hasRemaining()) {
      at += file.write(bytes, at);
    }
  }
}
