package org.sparkpeft.merge.spark;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.function.LongConsumer;
import java.util.zip.CRC32C;

/**
 * Gathers what is made of a piece, sums it up and writes it: a write for each block would cost more
 * than the rest.
 */
final class PieceOutput {
  /** Bytes of a write. */
  static final int BYTES = 1 << 18;

  /** What bytes are written to. */
  @FunctionalInterface
  interface Target {
    /** Writes all of {@code bytes} to {@code position} of a file. */
    void write(ByteBuffer bytes, long position) throws IOException;
  }

  private final Target target;
  private final long start;
  private final LongConsumer progress;
  private final CRC32C crc = new CRC32C();
  private final ByteBuffer gathered = ByteBuffer.allocateDirect(BYTES);
  private long position;

  /**
   * @param start position of the piece in the file
   */
  PieceOutput(Target target, long start, LongConsumer progress) {
    this.target = target;
    this.start = start;
    this.position = start;
    this.progress = progress;
  }

  void put(ByteBuffer bytes) throws IOException {
    while (bytes.hasRemaining()) {
      if (!gathered.hasRemaining()) {
        flush();
      }
      int n = Math.min(bytes.remaining(), gathered.remaining());
      int end = bytes.limit();
      gathered.put(bytes.limit(bytes.position() + n));
      bytes.limit(end);
    }
  }

  private void flush() throws IOException {
    int n = gathered.flip().limit();
    crc.update(gathered.duplicate());
    target.write(gathered, position);
    position += n;
    progress.accept(n);
    gathered.clear();
  }

  PieceMerge.Written finish() throws IOException {
    flush();
    return new PieceMerge.Written(start, position - start, crc.getValue());
  }
}
