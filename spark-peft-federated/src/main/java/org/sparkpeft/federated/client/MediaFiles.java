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
  private final String folder;

  private MediaFiles(@Nullable SerializableConfiguration hadoop, String folder) {
    this.hadoop = hadoop;
    this.folder = folder;
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
    SerializableConfiguration hadoop = configuration(spark);
    Path path = new Path(location);
    boolean folder;
    try {
      folder = path.getFileSystem(hadoop.value()).getFileStatus(path).isDirectory();
    } catch (IOException e) {
      folder = false; // a pattern, say; Spark reports what cannot be read
    }
    Path parent = folder ? path : path.getParent();
    return new MediaFiles(hadoop, parent == null ? "" : parent.toString());
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
    Path path = path(setting, name);
    Configuration configuration = hadoop.value();
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

  private Path path(String setting, String name) {
    if (name.isBlank()) {
      throw new DataException(setting + ": a row has an empty path");
    }
    try {
      Path path = new Path(name);
      if (path.isAbsolute() || path.toUri().getScheme() != null) {
        return path;
      }
      if (folder.isEmpty()) {
        throw new DataException(
            setting
                + ": the path "
                + name
                + " is relative and the data is in no folder; make it absolute");
      }
      return new Path(folder, path);
    } catch (IllegalArgumentException e) {
      throw new DataException(setting + ": " + name + " is no path: " + e.getMessage(), e);
    }
  }
}
