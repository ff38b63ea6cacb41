package org.sparkpeft.merge.storage;

import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.UUID;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.UnsupportedFileSystemException;
import org.apache.spark.SparkConf;
import org.apache.spark.SparkEnv;
import org.apache.spark.deploy.SparkHadoopUtil;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.ByteReader;

/**
 * Hadoop file systems. Their settings are those of {@code core-site.xml} on the class path and all
 * that begin with {@code spark.hadoop.}: of the running Spark application, or else system
 * properties.
 */
final class HadoopStorage implements Storage {
  static final HadoopStorage INSTANCE = new HadoopStorage();

  private static final String READ_POLICY = "fs.option.openfile.read.policy";

  private HadoopStorage() {}

  /** Reading the settings takes as long as writing a file, and an application's do not change. */
  private record Known(SparkConf application, Configuration settings) {}

  private static volatile @Nullable Known known;

  @SuppressWarnings("ReferenceEquality") // The running application's own.
  private static Configuration configuration() {
    SparkEnv running = SparkEnv.get();
    if (running == null) {
      return SparkHadoopUtil.get().newConfiguration(new SparkConf());
    }
    Known before = known;
    if (before == null || before.application != running.conf()) {
      before = new Known(running.conf(), SparkHadoopUtil.get().newConfiguration(running.conf()));
      known = before;
    }
    return before.settings;
  }

  /** Hadoop keeps one for each scheme and host, and closes it when the process ends. */
  private static FileSystem system(String location) throws IOException {
    try {
      return new Path(location).getFileSystem(configuration());
    } catch (UnsupportedFileSystemException e) {
      throw new DataException(
          "cannot reach "
              + location
              + ": "
              + e.getMessage()
              + "; put the jar of that file system on the class path (SPARK_PEFT_CLASSPATH, or"
              + " spark-submit --packages)",
          e);
    }
  }

  private static Optional<FileStatus> status(String location) {
    try {
      return Optional.of(system(location).getFileStatus(new Path(location)));
    } catch (FileNotFoundException e) {
      return Optional.empty();
    } catch (IOException e) {
      throw new UncheckedIOException("cannot reach " + location, e);
    }
  }

  @Override
  public boolean exists(String location) {
    return status(location).isPresent();
  }

  @Override
  public boolean isFile(String location) {
    return status(location).filter(FileStatus::isFile).isPresent();
  }

  @Override
  public boolean isDirectory(String location) {
    return status(location).filter(FileStatus::isDirectory).isPresent();
  }

  @Override
  public List<Entry> list(String folder) {
    try {
      List<Entry> entries = new ArrayList<>();
      for (FileStatus child : system(folder).listStatus(new Path(folder))) {
        entries.add(new Entry(child.getPath().getName(), child.isDirectory()));
      }
      return entries;
    } catch (IOException e) {
      throw new UncheckedIOException("cannot list " + folder, e);
    }
  }

  @Override
  public ByteReader open(String location) throws IOException {
    FileSystem system = system(location);
    Path path = new Path(location);
    long size = system.getFileStatus(path).getLen();
    // Parts are asked for by position: object stores then fetch those, not the rest of the file.
    FSDataInputStream in =
        org.apache.hadoop.util.functional.FutureIO.awaitFuture(
            system.openFile(path).opt(READ_POLICY, "random").build());
    return new HadoopReader(in, size);
  }

  /** Object stores and HDFS only append. */
  @Override
  public boolean writesAnywhere() {
    return false;
  }

  @Override
  public String stamp(String file) throws IOException {
    FileStatus status = system(file).getFileStatus(new Path(file));
    return status.getLen() + " " + status.getModificationTime();
  }

  @Override
  public void createDirectories(String folder) throws IOException {
    if (!system(folder).mkdirs(new Path(folder))) {
      throw new IOException("cannot make the folder " + folder);
    }
  }

  @Override
  public OutputStream create(String file) throws IOException {
    return system(file).create(new Path(file), true);
  }

  @Override
  public void write(String file, byte[] content) throws IOException {
    String temporary = sibling(file, "tmp");
    try {
      try (OutputStream out = create(temporary)) {
        out.write(content);
      }
      rename(temporary, file);
    } catch (IOException | RuntimeException e) {
      deleteAfter(e, temporary);
      throw e;
    }
  }

  private void deleteAfter(Exception failure, String temporary) {
    try {
      delete(temporary);
    } catch (IOException e) {
      failure.addSuppressed(e);
    }
  }

  @Override
  public void rename(String file, String target) throws IOException {
    // Hadoop's rename of a file does not replace another.
    delete(target);
    move(file, target);
  }

  private static void move(String from, String to) throws IOException {
    if (!system(from).rename(new Path(from), new Path(to))) {
      throw new IOException("cannot rename " + from + " to " + to);
    }
  }

  @Override
  public void delete(String location) throws IOException {
    system(location).delete(new Path(location), true);
  }

  @Override
  public long usableBytes(String folder) throws IOException {
    return system(folder).getStatus(new Path(folder)).getRemaining();
  }

  @Override
  public void replaceFolder(String target, String complete) throws IOException {
    if (!exists(target)) {
      move(complete, target);
      return;
    }
    String old = sibling(target, "old");
    move(target, old);
    try {
      move(complete, target);
    } catch (IOException e) {
      try {
        move(old, target);
      } catch (IOException second) {
        e.addSuppressed(second);
      }
      throw e;
    }
    delete(old);
  }

  private static String sibling(String location, String suffix) {
    Path path = new Path(location);
    return new Path(path.getParent(), "." + path.getName() + "." + UUID.randomUUID() + "." + suffix)
        .toString();
  }
}
