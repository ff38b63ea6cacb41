package org.sparkpeft.merge.storage;

import java.io.IOException;
import java.io.OutputStream;
import java.net.URI;
import java.nio.file.Path;
import java.util.regex.Pattern;
import org.sparkpeft.core.error.DataException;
import org.sparkpeft.core.io.FileSource;

/**
 * A file system that models are read from and written to. Paths and {@code file:} URIs are files of
 * this machine; other URIs ({@code hdfs:}, {@code s3a:}, {@code abfss:}, {@code gs:}, ...) are of
 * the Hadoop file system for their scheme.
 */
public interface Storage extends FileSource {
  /** Takes every location to its own file system. */
  FileSource ANY = new AnyStorage();

  /** The file system of a location. */
  static Storage of(String location) {
    return isRemote(location) ? HadoopStorage.INSTANCE : LocalStorage.INSTANCE;
  }

  /** Whether a location is not one of this machine. */
  static boolean isRemote(String location) {
    return Scheme.PATTERN.matcher(location).matches() && !location.startsWith("file:");
  }

  /**
   * The location as one that names the same for every process: an absolute path for files of this
   * machine, URIs as they are, without a slash at the end.
   *
   * @throws DataException if it is malformed
   */
  static String absolute(String location) {
    try {
      if (isRemote(location)) {
        return URI.create(location.replaceAll("(?<=[^/:])/+$", "")).toString();
      }
      Path path =
          location.startsWith("file:")
              ? Path.of(URI.create(location).getPath())
              : Path.of(location);
      return path.toAbsolutePath().normalize().toString();
    } catch (IllegalArgumentException e) {
      throw new DataException(location + " is neither a path nor a URI: " + e.getMessage(), e);
    }
  }

  /** Whether several writers may fill one file at the same time. */
  boolean writesAnywhere();

  /** Length and time of change, as text: what tells a file from a later one of that name. */
  String stamp(String file) throws IOException;

  void createDirectories(String folder) throws IOException;

  /** A new file, written from its beginning to its end; missing folders are made. */
  OutputStream create(String file) throws IOException;

  /** Makes a file of {@code content} appear whole or not at all. */
  void write(String file, byte[] content) throws IOException;

  /** Gives a file another name in its folder; one of that name is replaced. */
  void rename(String file, String target) throws IOException;

  /** Removes a file, or a folder with everything in it, if it is there. */
  void delete(String location) throws IOException;

  /** Bytes that can still be written there. */
  long usableBytes(String folder) throws IOException;

  /** Puts a folder that is complete in place of {@code target}; the old one is gone afterwards. */
  void replaceFolder(String target, String complete) throws IOException;

  /** What a URI begins with. Two letters at least: one is the drive of a Windows path. */
  final class Scheme {
    private static final Pattern PATTERN = Pattern.compile("[A-Za-z][A-Za-z0-9+.-]+:.*");

    private Scheme() {}
  }
}
