package org.sparkpeft.merge.storage;

import java.io.IOException;
import java.util.List;
import org.sparkpeft.core.io.ByteReader;
import org.sparkpeft.core.io.FileSource;

/** Every location on the file system it names. */
final class AnyStorage implements FileSource {
  @Override
  public boolean exists(String location) {
    return Storage.of(location).exists(location);
  }

  @Override
  public boolean isFile(String location) {
    return Storage.of(location).isFile(location);
  }

  @Override
  public boolean isDirectory(String location) {
    return Storage.of(location).isDirectory(location);
  }

  @Override
  public List<Entry> list(String folder) {
    return Storage.of(folder).list(folder);
  }

  @Override
  public ByteReader open(String location) throws IOException {
    return Storage.of(location).open(location);
  }
}
