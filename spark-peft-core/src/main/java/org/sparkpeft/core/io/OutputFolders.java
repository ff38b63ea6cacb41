package org.sparkpeft.core.io;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import org.sparkpeft.core.error.DataException;

/** Guards against replacing a folder that holds something else than an earlier output. */
final class OutputFolders {
  private OutputFolders() {}

  /**
   * Passes if {@code target} does not exist, is an empty folder, or is a folder of plain files, one
   * of them {@code marker}.
   *
   * @throws DataException otherwise
   */
  static void requireReplaceable(Path target, String marker) {
    if (!Files.exists(target, LinkOption.NOFOLLOW_LINKS)) {
      return;
    }
    if (!Files.isDirectory(target)) {
      throw new DataException(target + " is not a folder; choose another output path");
    }
    boolean empty = true;
    try (DirectoryStream<Path> children = Files.newDirectoryStream(target)) {
      for (Path child : children) {
        empty = false;
        if (Files.isDirectory(child)) {
          throw refused(target, "the folder " + child.getFileName());
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException("cannot list " + target, e);
    }
    if (!empty && !Files.isRegularFile(target.resolve(marker))) {
      throw refused(target, "files but no " + marker);
    }
  }

  private static DataException refused(Path target, String what) {
    return new DataException(
        target
            + " holds "
            + what
            + " and would be lost if replaced; choose a new or empty folder as output");
  }
}
