package org.sparkpeft.federated.client;

import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.io.Serializable;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.util.SerializableConfiguration;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.federated.config.DataConfig;

/**
 * Opens files that a column of paths names, where the rows are, on any file system that Hadoop
 * knows. Relative paths start at the folder of the data.
 */
public final class MediaFiles implements Serializable {
  private static final long serialVersionUID = 1L;

  /** Largest file that is read: an hour of sound at 48 kHz with one channel of 24 bits. */
  static final long MAX_BYTES = 1L << 29;

  /** Opens nothing: for texts. */
  static final MediaFiles NONE = new MediaFiles(null, "");

  private final @Nullable SerializableConfiguration hadoop;
  private final String location;

  /** Where relative paths start; asked for once on each executor. */
  private transient volatile @Nullable Path folder;

  private MediaFiles(@Nullable SerializableConfiguration hadoop, String location) {
    this.hadoop = hadoop;
    this.location = location;
  }

  /** Files by absolute path alone. */
  public static MediaFiles absolute(SparkSession spark) {
    return new MediaFiles(configuration(spark), "");
  }

  /**
   * Files beside data.
   *
   * @param location what was given to {@link DataReader}; may be empty
   * @param format likewise; a table is in no folder
   */
  public static MediaFiles beside(SparkSession spark, String location, String format) {
    if (location.isBlank()
        || format.equals(DataConfig.TABLE)
        || location.startsWith(DataReader.BUNDLED)) {
      return absolute(spark);
    }
    return new MediaFiles(configuration(spark), location);
  }

  private static SerializableConfiguration configuration(SparkSession spark) {
    return new SerializableConfiguration(spark.sparkContext().hadoopConfiguration());
  }

  /**
   * The bytes of a file.
   *
   * @param setting the recipe key that names the column, for messages
   * @throws DataException if it is not there, a folder, empty, or larger than {@link #MAX_BYTES}
   */
  byte[] read(String setting, String name) {
    if (hadoop == null) {
      throw new IllegalStateException("nobody said how files are opened");
    }
    Configuration configuration = hadoop.value();
    Path path = path(setting, name, configuration);
    try {
      FileSystem files = path.getFileSystem(configuration);
      FileStatus status = files.getFileStatus(path);
      if (status.isDirectory()) {
        throw new DataException(setting + ": " + path + " is a folder, not a file");
      }
      if (status.getLen() == 0 || status.getLen() > MAX_BYTES) {
        throw new DataException(
            "%s: %s has %,d bytes; files of 1 to %,d bytes are read"
                .formatted(setting, path, status.getLen(), MAX_BYTES));
      }
      try (InputStream in = files.open(path)) {
        byte[] bytes = in.readNBytes((int) status.getLen());
        if (bytes.length < status.getLen()) {
          throw new DataException(setting + ": " + path + " became shorter while it was read");
        }
        return bytes;
      }
    } catch (FileNotFoundException e) {
      throw new DataException(
          setting
              + ": there is no file "
              + path
              + "; every executor must be able to read it, and relative paths start at the folder of the data",
          e);
    } catch (IOException e) {
      throw new DataException(setting + ": " + path + " cannot be read: " + e.getMessage(), e);
    }
  }

  private Path path(String setting, String name, Configuration configuration) {
    if (name.isBlank()) {
      throw new DataException(setting + ": a row has an empty path");
    }
    try {
      Path path = new Path(name);
      if (path.isAbsolute() || path.toUri().getScheme() != null) {
        return path;
      }
      if (location.isEmpty()) {
        throw new DataException(
            setting
                + ": the path "
                + name
                + " is relative and the data is in no folder; make it absolute");
      }
      Path start = folder;
      if (start == null) {
        start = folder(new Path(location), configuration);
        folder = start;
      }
      return new Path(start, path);
    } catch (IllegalArgumentException e) {
      throw new DataException(setting + ": " + name + " is no path: " + e.getMessage(), e);
    }
  }

  /** Data in a file lies in the file's folder. */
  private static Path folder(Path data, Configuration configuration) {
    boolean isFolder;
    try {
      isFolder = data.getFileSystem(configuration).getFileStatus(data).isDirectory();
    } catch (IOException e) {
      isFolder = false; // a pattern, say
    }
    Path parent = data.getParent();
    return isFolder || parent == null ? data : parent;
  }
}
