package org.sparkpeft.merge.storage;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import org.sparkpeft.core.io.AtomicFiles;
import org.sparkpeft.core.io.ByteReader;
import org.sparkpeft.core.io.FileSource;

/** Files of this machine, or of a network drive that looks like one. */
final class LocalStorage implements Storage {
  static final LocalStorage INSTANCE = new LocalStorage();

  private LocalStorage() {}

  @Override
  public boolean exists(String location) {
    return FileSource.LOCAL.exists(location);
  }

  @Override
  public boolean isFile(String location) {
    return FileSource.LOCAL.isFile(location);
  }

  @Override
  public boolean isDirectory(String location) {
    return FileSource.LOCAL.isDirectory(location);
  }

  @Override
  public List<Entry> list(String folder) {
    return FileSource.LOCAL.list(folder);
  }

  @Override
  public ByteReader open(String location) throws IOException {
    return FileSource.LOCAL.open(location);
  }

  @Override
  public boolean writesAnywhere() {
    return true;
  }

  @Override
  public String stamp(String file) throws IOException {
    Path path = Path.of(file);
    return Files.size(path) + " " + Files.getLastModifiedTime(path);
  }

  @Override
  public void createDirectories(String folder) throws IOException {
    Files.createDirectories(Path.of(folder));
  }

  @Override
  public OutputStream create(String file) throws IOException {
    Path path = Path.of(file);
    Files.createDirectories(path.toAbsolutePath().getParent());
    return Files.newOutputStream(path);
  }

  @Override
  public void write(String file, byte[] content) {
    AtomicFiles.write(Path.of(file), content);
  }

  @Override
  public void rename(String file, String target) throws IOException {
    Files.move(
        Path.of(file),
        Path.of(target),
        StandardCopyOption.ATOMIC_MOVE,
        StandardCopyOption.REPLACE_EXISTING);
  }

  @Override
  public void delete(String location) throws IOException {
    AtomicFiles.deleteTree(Path.of(location));
  }

  @Override
  public long usableBytes(String folder) throws IOException {
    return Files.getFileStore(Path.of(folder)).getUsableSpace();
  }

  @Override
  public void replaceFolder(String target, String complete) {
    AtomicFiles.replaceDirectory(Path.of(target), Path.of(complete));
  }
}
