package org.sparkpeft.core.io;

import java.io.Closeable;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;

/** The bytes of one file, read at any position. For one thread. */
public interface ByteReader extends Closeable {

  /** Length of the file when it was opened. */
  long size();

  /**
   * Reads at least one byte, if there is room for one.
   *
   * @param into gets the bytes, from its position on
   * @param position where in the file
   * @return how many were read; negative at the end of the file
   */
  int read(ByteBuffer into, long position) throws IOException;

  /**
   * Reads until {@code into} is full.
   *
   * @throws EOFException if the file ends before
   */
  default void readFully(ByteBuffer into, long position) throws IOException {
    long at = position;
    while (into.hasRemaining()) {
      int n = read(into, at);
      if (n < 0) {
        throw new EOFException("the file ends at " + at);
      }
      at += n;
    }
  }
}
