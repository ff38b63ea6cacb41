package org.sparkpeft.core.io;

import java.nio.file.Path;
import java.util.List;
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
    requireReplaceable(FileSource.LOCAL, target.toString(), marker);
  }

  static void requireReplaceable(FileSource source, String target, String marker) {
    if (!source.exists(target)) {
      return;
    }
    if (!source.isDirectory(target)) {
      throw new DataException(target + " is not a folder; choose another output path");
    }
    List<FileSource.Entry> entries = source.list(target);
    for (FileSource.Entry entry : entries) {
      if (entry.isDirectory()) {
        throw refused(target, "the folder " + entry.name());
      }
    }
    if (!entries.isEmpty() && entries.stream().noneMatch(entry -> entry.name().equals(marker))) {
      throw refused(target, "files but no " + marker);
    }
  }

  private static DataException refused(String target, String what) {
    return new DataException(
        target
            + " holds "
            + what
            + " and would be lost if replaced; choose a new or empty folder as output");
  }
}
