package org.sparkpeft.core.io;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;

/**
 * A file system as far as reading models needs one. Locations are what users write: a path, or a
 * URI; the file {@code name} of a folder is at {@code folder + "/" + name}.
 */
public interface FileSource {
  /** Files of this machine. */
  FileSource LOCAL = new Local();

  /**
   * What a folder holds.
   *
   * @param name without the folder
   */
  record Entry(String name, boolean isDirectory) {}

  /** Where {@code name} in a folder is. */
  static String within(String folder, String name) {
    return folder.endsWith("/") ? folder + name : folder + "/" + name;
  }

  boolean exists(String location);

  boolean isFile(String location);

  boolean isDirectory(String location);

  /** What is in a folder, in no particular order. */
  List<Entry> list(String folder);

  /** Opens a file for reading. */
  ByteReader open(String location) throws IOException;

  /** See {@link #LOCAL}. */
  final class Local implements FileSource {
    private Local() {}

    @Override
    public boolean exists(String location) {
      return Files.exists(Path.of(location), LinkOption.NOFOLLOW_LINKS);
    }

    @Override
    public boolean isFile(String location) {
      return Files.isRegularFile(Path.of(location));
    }

    @Override
    public boolean isDirectory(String location) {
      return Files.isDirectory(Path.of(location));
    }

    @Override
    public List<Entry> list(String folder) {
      List<Entry> entries = new ArrayList<>();
      try (DirectoryStream<Path> children = Files.newDirectoryStream(Path.of(folder))) {
        for (Path child : children) {
          entries.add(new Entry(child.getFileName().toString(), Files.isDirectory(child)));
        }
      } catch (IOException e) {
        throw new UncheckedIOException("cannot list " + folder, e);
      }
      return entries;
    }

    @Override
    public ByteReader open(String location) throws IOException {
      FileChannel channel = FileChannel.open(Path.of(location), StandardOpenOption.READ);
      return new ChannelReader(channel, channel.size());
    }
  }

  /** A file of this machine. */
  record ChannelReader(FileChannel channel, long size) implements ByteReader {
    @Override
    public int read(ByteBuffer into, long position) throws IOException {
      return channel.read(into, position);
    }

    @Override
    public void close() throws IOException {
      channel.close();
    }
  }
}
