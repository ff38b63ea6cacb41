package org.sparkpeft.federated.client;

import java.io.IOException;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Locale;
import java.util.Optional;
import org.sparkpeft.core.error.FormatException;
import org.sparkpeft.core.io.ByteReader;
import org.sparkpeft.core.io.FileSource;
import org.sparkpeft.merge.storage.Storage;

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

  private static final String ROUND = "round-";

  private final String root;

  /**
   * @param root a folder as a Hadoop file system URI or a local path
   */
  public ClientStore(String root) {
    this.root = Storage.absolute(root);
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
    String file = file(clientId, round);
    if (!storage().exists(file)) {
      throw new FormatException(
          file,
          "the state of client "
              + clientId
              + " after round "
              + round
              + " is missing; the folder must be reachable from every executor");
    }
    return Optional.of(read(file));
  }

  private byte[] read(String file) {
    try (ByteReader in = storage().open(file)) {
      if (in.size() > MAX_STATE_BYTES) {
        throw new FormatException(
            file, "a client's state has " + in.size() + " bytes; at most " + MAX_STATE_BYTES);
      }
      byte[] bytes = new byte[(int) in.size()];
      in.readFully(ByteBuffer.wrap(bytes), 0);
      return bytes;
    } catch (IOException e) {
      throw new UncheckedIOException("reading " + file, e);
    }
  }

  /**
   * Writes the state that {@code clientId} leaves in {@code round}; of several attempts, which
   * write the same, one remains.
   */
  public void write(String clientId, int round, byte[] state) {
    write(file(clientId, round), state);
  }

  private void write(String file, byte[] content) {
    try {
      storage().write(file, content);
    } catch (IOException e) {
      if (!storage().exists(file)) { // else another attempt was faster
        throw new UncheckedIOException("writing " + file, e);
      }
    }
  }

  /** Removes the states of {@code clientId} from rounds before {@code keepFrom}. */
  public void prune(String clientId, int keepFrom) {
    String folder = folder(clientId);
    if (!storage().exists(folder)) {
      return;
    }
    for (FileSource.Entry entry : storage().list(folder)) {
      String name = entry.name();
      if (name.startsWith(ROUND) && Integer.parseInt(name.substring(ROUND.length())) < keepFrom) {
        remove(FileSource.within(folder, name));
      }
    }
  }

  private void remove(String file) {
    try {
      storage().delete(file);
    } catch (IOException e) {
      throw new UncheckedIOException("removing " + file, e);
    }
  }

  private Storage storage() {
    return Storage.of(root);
  }

  private String file(String clientId, int round) {
    return FileSource.within(folder(clientId), String.format(Locale.ROOT, ROUND + "%06d", round));
  }

  /** Client ids are the user's data and may hold anything; a folder name may not. */
  private String folder(String clientId) {
    String readable = clientId.replaceAll("[^A-Za-z0-9_-]", "_");
    String name = readable.length() > 60 ? readable.substring(0, 60) : readable;
    long hash = org.sparkpeft.core.random.Philox.hash(clientId);
    return FileSource.within(root, name + "-" + HexFormat.of().toHexDigits(hash));
  }

  private String probeFile(String token) {
    return FileSource.within(root, ".probe-" + token);
  }

  /**
   * Writes and reads back a few bytes.
   *
   * @throws UncheckedIOException if the folder cannot be written
   */
  public void probe(String token) {
    write(probeFile(token), token.getBytes(StandardCharsets.UTF_8));
  }

  /** Whether this process sees the bytes another process wrote with {@link #probe}. */
  public boolean sees(String token) {
    String file = probeFile(token);
    try {
      return storage().exists(file)
          && Arrays.equals(read(file), token.getBytes(StandardCharsets.UTF_8));
    } catch (UncheckedIOException e) {
      return false;
    }
  }

  /** Removes what {@link #probe} wrote. */
  public void endProbe(String token) {
    remove(probeFile(token));
  }
}
