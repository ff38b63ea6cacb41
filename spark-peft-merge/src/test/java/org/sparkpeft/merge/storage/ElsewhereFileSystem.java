package org.sparkpeft.merge.storage;

import java.io.IOException;
import java.net.URI;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Predicate;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FSInputStream;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.RawLocalFileSystem;
import org.apache.hadoop.util.Progressable;

/**
 * Local files under the scheme {@code elsewhere:}, as a remote file system has them: reads come
 * back shorter than asked for, only positioned ones are allowed, and creating a file may fail.
 */
public final class ElsewhereFileSystem extends RawLocalFileSystem {
  private static final int MOST_AT_ONCE = 1000;

  /** Largest read asked for since it was last set. */
  public static final AtomicLong LARGEST_READ = new AtomicLong();

  /** Files that cannot be created. */
  private static volatile Predicate<String> refused = name -> false;

  /** Makes creating files whose location fulfils {@code which} fail. */
  public static void refuse(Predicate<String> which) {
    refused = which;
  }

  /** The location of a local path in this file system. */
  public static String location(java.nio.file.Path path) {
    return "elsewhere:" + path.toAbsolutePath();
  }

  @Override
  public URI getUri() {
    return URI.create("elsewhere:///");
  }

  @Override
  public String getScheme() {
    return "elsewhere";
  }

  @Override
  public FSDataInputStream open(Path path, int bufferSize) throws IOException {
    return new FSDataInputStream(new Positioned(super.open(path, bufferSize)));
  }

  @Override
  public FSDataOutputStream create(
      Path path,
      boolean overwrite,
      int bufferSize,
      short replication,
      long blockSize,
      Progressable progress)
      throws IOException {
    if (refused.test(path.toString())) {
      throw new IOException("the store is down");
    }
    return super.create(path, overwrite, bufferSize, replication, blockSize, progress);
  }

  private static final class Positioned extends FSInputStream {
    private final FSDataInputStream in;

    Positioned(FSDataInputStream in) {
      this.in = in;
    }

    @Override
    public int read(long position, byte[] into, int offset, int length) throws IOException {
      LARGEST_READ.accumulateAndGet(length, Math::max);
      return in.read(position, into, offset, Math.min(MOST_AT_ONCE, length));
    }

    @Override
    public int read() {
      throw new UnsupportedOperationException("only positioned reads");
    }

    @Override
    public void seek(long position) {
      throw new UnsupportedOperationException("only positioned reads");
    }

    @Override
    public long getPos() {
      return 0;
    }

    @Override
    public boolean seekToNewSource(long target) {
      return false;
    }

    @Override
    public void close() throws IOException {
      in.close();
    }
  }
}
