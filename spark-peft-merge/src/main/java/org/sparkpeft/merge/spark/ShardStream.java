package org.sparkpeft.merge.spark;

import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.function.LongConsumer;
import org.sparkpeft.merge.storage.Storage;

/**
 * Writes shards where files are only appended to: each is written by one worker from its beginning
 * to its end, so as many are written at once as there are workers.
 */
final class ShardStream {
  private ShardStream() {}

  /**
   * A shard to write.
   *
   * @param file its location
   * @param header the first bytes
   * @param tasks what follows, piece by piece in the order of the file
   */
  @SuppressWarnings("ArrayRecordComponent") // Travels, is never compared.
  record Job(String file, byte[] header, List<PieceMerge.Task> tasks, ReadPlan reading)
      implements Serializable {
    static Job of(
        BuildFolder folder, ShardPlan.Shard shard, List<PieceMerge.Task> tasks, ReadPlan reading) {
      ByteBuffer header = shard.layout().header().duplicate();
      byte[] bytes = new byte[header.remaining()];
      header.get(bytes);
      return new Job(folder.file(shard.name()), bytes, tasks, reading);
    }
  }

  /** Writes a shard under a name of its own, renames it and notes that it is done. */
  static Boolean run(Job job, LongConsumer progress) {
    Storage storage = Storage.of(job.file());
    // Another attempt at the same shard may be under way elsewhere.
    String temporary = job.file() + "." + UUID.randomUUID() + ".part";
    try {
      List<PieceMerge.Written> written;
      try (OutputStream out =
          new BufferedOutputStream(storage.create(temporary), PieceOutput.BYTES)) {
        out.write(job.header());
        written = write(job, out, progress);
      }
      storage.rename(temporary, job.file());
      MergeJournal.finished(storage, job.file(), written);
      return true;
    } catch (IOException | RuntimeException e) {
      try {
        storage.delete(temporary);
      } catch (IOException second) {
        e.addSuppressed(second);
      }
      throw e instanceof RuntimeException unchecked
          ? unchecked
          : new UncheckedIOException("cannot write " + job.file(), (IOException) e);
    }
  }

  private static List<PieceMerge.Written> write(Job job, OutputStream out, LongConsumer progress)
      throws IOException {
    Appender appender = new Appender(out, job.header().length);
    List<PieceMerge.Written> written = new ArrayList<>();
    for (PieceMerge.Task task : job.tasks()) {
      written.add(PieceMerge.run(task, job.reading(), appender, progress));
    }
    return written;
  }

  private static final class Appender implements PieceOutput.Target {
    private final OutputStream out;
    private final byte[] bytes = new byte[PieceOutput.BYTES];
    private long end;

    Appender(OutputStream out, long end) {
      this.out = out;
      this.end = end;
    }

    @Override
    public void write(ByteBuffer piece, long position) throws IOException {
      if (position != end) {
        throw new IllegalStateException("the next byte is " + end + ", not " + position);
      }
      int n = piece.remaining();
      piece.get(bytes, 0, n);
      out.write(bytes, 0, n);
      end += n;
    }
  }
}
