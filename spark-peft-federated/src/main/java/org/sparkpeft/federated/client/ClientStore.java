package org.sparkpeft.federated.client;

import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.Locale;
import java.util.Optional;
import java.util.UUID;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.sparkpeft.core.error.FormatException;

/**
 * What a client keeps between the rounds it takes part in: bytes by (client, round), in a folder
 * that every executor reaches. A task reads the version of an earlier round and writes that of its
 * own; it never changes one in place. A retried or speculative attempt therefore reads the same
 * input and writes the same output, and nothing is applied twice. Which version counts is decided
 * by the driver, which names it when it calls the client.
 */
public final class ClientStore implements Serializable {
  private static final long serialVersionUID = 1L;
  private static final int MAX_STATE_BYTES = 1 << 30;

  private final String root;

  /**
   * @param root a folder as a Hadoop file system URI or a local path
   */
  public ClientStore(String root) {
    this.root = root;
  }

  public String root() {
    return root;
  }

  /**
   * The state that {@code clientId} left in {@code round}.
   *
   * @return empty if {@code round} is 0: the client has not taken part yet
   * @throws FormatException if the state is missing or unreadable
   */
  public Optional<byte[]> read(String clientId, int round) {
    if (round == 0) {
      return Optional.empty();
    }
    Path file = file(clientId, round);
    try {
      FileSystem fileSystem = fileSystem(file);
      FileStatus status = fileSystem.getFileStatus(file);
      if (status.getLen() > MAX_STATE_BYTES) {
        throw new FormatException(
            file.toString(),
            "a client's state has " + status.getLen() + " bytes; at most " + MAX_STATE_BYTES);
      }
      byte[] bytes = new byte[(int) status.getLen()];
      try (FSDataInputStream in = fileSystem.open(file)) {
        in.readFully(0, bytes);
      }
      return Optional.of(bytes);
    } catch (FileNotFoundException e) {
      throw new FormatException(
          file.toString(),
          "the state of client "
              + clientId
              + " after round "
              + round
              + " is missing; the folder must be reachable from every executor",
          e);
    } catch (IOException e) {
      throw new UncheckedIOException("reading " + file, e);
    }
  }

  /**
   * Writes the state that {@code clientId} leaves in {@code round}; of several attempts, which
   * write the same, one remains.
   */
  public void write(String clientId, int round, byte[] state) {
    Path file = file(clientId, round);
    Path temporary =
        new Path(file.getParent(), "." + file.getName() + "." + UUID.randomUUID() + ".tmp");
    try {
      FileSystem fileSystem = fileSystem(file);
      try {
        try (FSDataOutputStream out = fileSystem.create(temporary, true)) {
          out.write(state);
        }
        if (!fileSystem.rename(temporary, file)) {
          fileSystem.delete(file, false);
          if (!fileSystem.rename(temporary, file) && !fileSystem.exists(file)) {
            throw new IOException("could not rename " + temporary + " to " + file);
          }
        }
      } finally {
        fileSystem.delete(temporary, false);
      }
    } catch (IOException e) {
      throw new UncheckedIOException("writing " + file, e);
    }
  }

  /** Removes the states of {@code clientId} from rounds before {@code keepFrom}. */
  public void prune(String clientId, int keepFrom) {
    Path folder = folder(clientId);
    try {
      FileSystem fileSystem = fileSystem(folder);
      if (!fileSystem.exists(folder)) {
        return;
      }
      for (FileStatus status : fileSystem.listStatus(folder)) {
        String name = status.getPath().getName();
        if (name.startsWith("round-") && Integer.parseInt(name.substring(6)) < keepFrom) {
          fileSystem.delete(status.getPath(), false);
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException("pruning " + folder, e);
    }
  }

  private Path file(String clientId, int round) {
    return new Path(folder(clientId), String.format(Locale.ROOT, "round-%06d", round));
  }

  /** Client ids are the user's data and may hold anything; a folder name may not. */
  private Path folder(String clientId) {
    String readable = clientId.replaceAll("[^A-Za-z0-9_-]", "_");
    String name = readable.length() > 60 ? readable.substring(0, 60) : readable;
    long hash = org.sparkpeft.core.random.Philox.hash(clientId);
    return new Path(root, name + "-" + HexFormat.of().toHexDigits(hash));
  }

  private static FileSystem fileSystem(Path path) throws IOException {
    return path.getFileSystem(new Configuration());
  }

  /**
   * Writes and reads back a few bytes.
   *
   * @throws UncheckedIOException if the folder cannot be written
   */
  public void probe(String token) {
    Path file = new Path(root, ".probe-" + token);
    try {
      FileSystem fileSystem = fileSystem(file);
      try (FSDataOutputStream out = fileSystem.create(file, true)) {
        out.write(token.getBytes(StandardCharsets.UTF_8));
      }
    } catch (IOException e) {
      throw new UncheckedIOException("writing " + file, e);
    }
  }

  /** Whether this process sees the bytes another process wrote with {@link #probe}. */
  public boolean sees(String token) {
    Path file = new Path(root, ".probe-" + token);
    try {
      FileSystem fileSystem = fileSystem(file);
      if (!fileSystem.exists(file)) {
        return false;
      }
      try (FSDataInputStream in = fileSystem.open(file)) {
        return new String(in.readAllBytes(), StandardCharsets.UTF_8).equals(token);
      }
    } catch (IOException e) {
      return false;
    }
  }

  /** Removes what {@link #probe} wrote. */
  public void endProbe(String token) {
    Path file = new Path(root, ".probe-" + token);
    try {
      fileSystem(file).delete(file, false);
    } catch (IOException e) {
      throw new UncheckedIOException("removing " + file, e);
    }
  }
}
