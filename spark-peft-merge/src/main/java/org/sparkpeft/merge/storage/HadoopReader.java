package org.sparkpeft.merge.storage;

import java.io.IOException;
import java.nio.ByteBuffer;
import org.apache.hadoop.fs.FSDataInputStream;
import org.sparkpeft.core.io.ByteReader;

/** Positioned reads of a file that was {@code size} bytes long when opened. */
final class HadoopReader implements ByteReader {
  private static final int MOST_AT_ONCE = 1 << 20;

  private final FSDataInputStream in;
  private final long size;
  private byte[] bytes = new byte[0];

  HadoopReader(FSDataInputStream in, long size) {
    this.in = in;
    this.size = size;
  }

  @Override
  public long size() {
    return size;
  }

  @Override
  public int read(ByteBuffer into, long position) throws IOException {
    int wanted = Math.min(MOST_AT_ONCE, into.remaining());
    if (into.hasArray()) {
      int n = in.read(position, into.array(), into.arrayOffset() + into.position(), wanted);
      into.position(into.position() + Math.max(0, n));
      return n;
    }
    if (bytes.length < wanted) {
      bytes = new byte[wanted];
    }
    int n = in.read(position, bytes, 0, wanted);
    if (n > 0) {
      into.put(bytes, 0, n);
    }
    return n;
  }

  @Override
  public void close() throws IOException {
    in.close();
  }
}
