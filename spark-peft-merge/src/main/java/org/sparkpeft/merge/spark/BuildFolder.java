package org.sparkpeft.merge.spark;

import java.io.IOException;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.Set;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.ByteReader;
import org.sparkpeft.core.io.FileSource;
import org.sparkpeft.core.io.ModelDirectory;
import org.sparkpeft.merge.storage.Storage;

/**
 * The hidden folder beside a target in which a result is put together.
 *
 * @param storage where both are
 * @param target the folder it becomes
 * @param folder the hidden folder
 */
record BuildFolder(Storage storage, String target, String folder) {
  private static final String SUFFIX = ".merging";
  private static final int BUFFER = 1 << 20;

  /**
   * The one that belongs to a target.
   *
   * @throws DataException if the target is the root of a file system
   */
  static BuildFolder of(String target) {
    Storage storage = Storage.of(target);
    if (!Storage.isRemote(target)) {
      Path path = Path.of(target);
      if (path.getParent() == null) {
        throw isRoot(target);
      }
      return new BuildFolder(
          storage, target, path.resolveSibling("." + path.getFileName() + SUFFIX).toString());
    }
    String path = URI.create(target).getPath();
    if (path == null || path.length() < 2) {
      throw isRoot(target);
    }
    int name = target.lastIndexOf('/') + 1;
    return new BuildFolder(
        storage, target, target.substring(0, name) + "." + target.substring(name) + SUFFIX);
  }

  private static DataException isRoot(String target) {
    return new DataException(target + " is the root of a file system; name a folder below it");
  }

  /** Location of a file in it. */
  String file(String name) {
    return FileSource.within(folder, name);
  }

  void requireReplaceableTarget() {
    ModelDirectory.requireReplaceable(storage, target);
  }

  void create() throws IOException {
    storage.createDirectories(folder);
  }

  void empty() throws IOException {
    storage.delete(folder);
    create();
  }

  boolean holds(String name) {
    return storage.isFile(file(name));
  }

  ByteReader open(String name) throws IOException {
    return storage.open(file(name));
  }

  void write(String name, byte[] content) throws IOException {
    storage.write(file(name), content);
  }

  /** Copies a file of any file system into it. */
  void copy(String name, String from) throws IOException {
    try (ByteReader reader = Storage.of(from).open(from);
        var out = storage.create(file(name))) {
      ByteBuffer buffer = ByteBuffer.allocate(BUFFER);
      for (long at = 0; at < reader.size(); ) {
        buffer.clear().limit((int) Math.min(BUFFER, reader.size() - at));
        reader.readFully(buffer, at);
        out.write(buffer.array(), 0, buffer.limit());
        at += buffer.limit();
      }
    }
  }

  void delete(String name) throws IOException {
    storage.delete(file(name));
  }

  /** Removes what a killed attempt may have left. */
  void deleteAllBut(Set<String> names) throws IOException {
    for (FileSource.Entry entry : storage.list(folder)) {
      if (!names.contains(entry.name())) {
        delete(entry.name());
      }
    }
  }

  /** Makes it the target. */
  void install() throws IOException {
    storage.replaceFolder(target, folder);
  }
}
