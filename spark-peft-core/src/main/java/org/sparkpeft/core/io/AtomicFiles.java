package org.sparkpeft.core.io;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.Objects;
import java.util.UUID;

/**
 * Files and folders that appear whole or not at all: written beside the target under a hidden name,
 * forced to disk, then renamed. After a failure the target is what it was and the part written is
 * removed.
 */
public final class AtomicFiles {
  /** A channel copies heap buffers off the heap in one go; pieces keep that copy small. */
  private static final int PIECE = 1 << 20;

  private AtomicFiles() {}

  /** Writes the content of a file. */
  @FunctionalInterface
  public interface FileContent {
    void writeTo(FileChannel channel) throws IOException;
  }

  /** Fills a new, empty folder. */
  @FunctionalInterface
  public interface DirectoryContent {
    void writeTo(Path directory) throws IOException;
  }

  /**
   * Replaces or creates {@code target}, and missing parent folders.
   *
   * @throws UncheckedIOException if it cannot be written; nothing is left behind
   */
  public static void write(Path target, byte[] content) {
    write(target, channel -> writeFully(channel, ByteBuffer.wrap(content)));
  }

  /**
   * Replaces or creates {@code target} with what {@code content} writes.
   *
   * @throws UncheckedIOException if it cannot be written; nothing is left behind
   */
  public static void write(Path target, FileContent content) {
    try {
      Path file = resolve(target);
      Path temporary = hiddenSibling(file, "tmp");
      try {
        try (FileChannel channel =
            FileChannel.open(temporary, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
          content.writeTo(channel);
          channel.force(true);
        }
        Files.move(
            temporary, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
      } catch (IOException | RuntimeException | Error e) {
        removeAfter(e, temporary);
        throw e;
      }
      forceDirectory(parentOf(file));
    } catch (IOException e) {
      throw failed(target, e);
    }
  }

  /**
   * Replaces or creates the folder {@code target} with what {@code content} puts into a new folder;
   * everything that was in the old one is gone afterwards. The new folder is complete and on disk
   * before the old one is touched; between the two renames, for an instant, there is no folder of
   * that name, and a crash exactly then leaves the old one as {@code .NAME.*.old}.
   *
   * @throws UncheckedIOException if it cannot be written; the old folder is then still in place
   */
  public static void replaceDirectory(Path target, DirectoryContent content) {
    try {
      Path directory = resolve(target);
      Path temporary = buildBeside(directory, content);
      try {
        install(temporary, directory);
      } catch (IOException | RuntimeException | Error e) {
        removeAfter(e, temporary);
        throw e;
      }
    } catch (IOException e) {
      throw failed(target, e);
    } catch (UncheckedIOException e) {
      // From a write inside: name the folder the user knows, not the hidden one.
      throw failed(target, Objects.requireNonNull(e.getCause()));
    }
  }

  /**
   * Puts a folder that is complete in place of {@code target}, like the other {@code
   * replaceDirectory}; both must be on one file system. What is in it is not forced to disk.
   *
   * @throws UncheckedIOException if it cannot be moved; the old folder is then still in place
   */
  public static void replaceDirectory(Path target, Path built) {
    try {
      install(built, resolve(target));
    } catch (IOException e) {
      throw failed(target, e);
    }
  }

  /**
   * A complete folder, on disk, under a hidden name beside {@code directory}; removed on failure.
   */
  static Path buildBeside(Path directory, DirectoryContent content) throws IOException {
    Path temporary = hiddenSibling(directory, "tmp");
    Files.createDirectory(temporary);
    try {
      content.writeTo(temporary);
      forceTree(temporary);
    } catch (IOException | RuntimeException | Error e) {
      removeAfter(e, temporary);
      throw e;
    }
    return temporary;
  }

  /** Puts a built folder in place of {@code directory}, or puts the old one back. */
  static void install(Path built, Path directory) throws IOException {
    if (!Files.exists(directory, LinkOption.NOFOLLOW_LINKS)) {
      Files.move(built, directory, StandardCopyOption.ATOMIC_MOVE);
    } else {
      Path old = hiddenSibling(directory, "old");
      Files.move(directory, old, StandardCopyOption.ATOMIC_MOVE);
      try {
        Files.move(built, directory, StandardCopyOption.ATOMIC_MOVE);
      } catch (IOException | RuntimeException | Error e) {
        try {
          Files.move(old, directory, StandardCopyOption.ATOMIC_MOVE);
        } catch (IOException second) {
          e.addSuppressed(second);
        }
        throw e;
      }
      deleteTree(old);
    }
    forceDirectory(parentOf(directory));
  }

  /** Writes everything from position to limit. */
  static void writeFully(FileChannel channel, ByteBuffer content) throws IOException {
    ByteBuffer rest = content.duplicate();
    int end = rest.limit();
    while (rest.position() < end) {
      rest.limit((int) Math.min(end, (long) rest.position() + PIECE));
      channel.write(rest);
    }
  }

  /** Removes a file, or a folder with everything in it; links are removed, not followed. */
  public static void deleteTree(Path path) throws IOException {
    if (Files.isDirectory(path, LinkOption.NOFOLLOW_LINKS)) {
      try (DirectoryStream<Path> children = Files.newDirectoryStream(path)) {
        for (Path child : children) {
          deleteTree(child);
        }
      }
    }
    Files.deleteIfExists(path);
  }

  /** Cleans up after {@code failure}, to which a failing clean-up is attached. */
  static void removeAfter(Throwable failure, Path leftover) {
    try {
      deleteTree(leftover);
    } catch (IOException e) {
      failure.addSuppressed(e);
    }
  }

  /** Absolute, with parent folders made; an existing link is followed so that it survives. */
  private static Path resolve(Path target) throws IOException {
    Path absolute = target.toAbsolutePath().normalize();
    Files.createDirectories(parentOf(absolute));
    return Files.isSymbolicLink(absolute) ? absolute.toRealPath() : absolute;
  }

  private static Path parentOf(Path absolute) throws IOException {
    Path parent = absolute.getParent();
    if (parent == null) {
      throw new IOException(absolute + " is the root of a file system; name a path below it");
    }
    return parent;
  }

  private static Path hiddenSibling(Path path, String suffix) {
    return path.resolveSibling("." + path.getFileName() + "." + UUID.randomUUID() + "." + suffix);
  }

  private static void forceTree(Path directory) throws IOException {
    try (DirectoryStream<Path> children = Files.newDirectoryStream(directory)) {
      for (Path child : children) {
        if (Files.isDirectory(child, LinkOption.NOFOLLOW_LINKS)) {
          forceTree(child);
        } else {
          // Reading rights suffice, and a copied file may have no others.
          try (FileChannel channel = FileChannel.open(child, StandardOpenOption.READ)) {
            channel.force(true);
          }
        }
      }
    }
    forceDirectory(directory);
  }

  private static void forceDirectory(Path directory) {
    try (FileChannel channel = FileChannel.open(directory, StandardOpenOption.READ)) {
      channel.force(true);
    } catch (IOException e) {
      // Some systems cannot open a folder. The rename has happened; only its survival of a power
      // failure in the next seconds is then up to the file system.
      return;
    }
  }

  private static UncheckedIOException failed(Path target, IOException cause) {
    return new UncheckedIOException(
        "cannot write "
            + target
            + " ("
            + cause
            + "); what was there is unchanged. Check free space and permissions, or choose another"
            + " path",
        cause);
  }
}
