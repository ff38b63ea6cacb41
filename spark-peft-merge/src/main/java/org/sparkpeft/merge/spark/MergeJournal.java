package org.sparkpeft.merge.spark;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import java.io.EOFException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Optional;
import java.util.zip.CRC32C;
import org.sparkpeft.core.io.ByteReader;
import org.sparkpeft.merge.storage.Storage;

/**
 * What is done of a merge, as small JSON files beside the shards: one says of which merge, and one
 * for each finished shard has the checksums of its pieces. Whoever finishes a shard notes it, so
 * nothing is lost with the process that leads the merge.
 */
final class MergeJournal {
  static final String FILE = "merge-journal.json";
  private static final String CHECKSUMS = ".checksums.json";
  private static final int MOST_BYTES = 64 << 20;
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int BUFFER = 1 << 20;

  private final BuildFolder folder;

  private MergeJournal(BuildFolder folder) {
    this.folder = folder;
  }

  /**
   * The journal of a folder; started anew, and the folder emptied, if there is none or it is of
   * another merge.
   *
   * @param fingerprint of everything that decides the result
   */
  static MergeJournal open(BuildFolder folder, String fingerprint) throws IOException {
    String merge = read(folder, FILE).map(node -> node.path("merge").asText()).orElse("");
    if (!merge.equals(fingerprint)) {
      folder.empty();
      JsonNode fresh = JSON.createObjectNode().put("merge", fingerprint);
      folder.write(FILE, fresh.toString().getBytes(StandardCharsets.UTF_8));
    }
    return new MergeJournal(folder);
  }

  /** A JSON file of the folder; empty if it is missing or damaged, and so does not count. */
  private static Optional<JsonNode> read(BuildFolder folder, String name) throws IOException {
    if (!folder.holds(name)) {
      return Optional.empty();
    }
    try (ByteReader reader = folder.open(name)) {
      if (reader.size() > MOST_BYTES) {
        return Optional.empty();
      }
      ByteBuffer bytes = ByteBuffer.allocate((int) reader.size());
      reader.readFully(bytes, 0);
      return Optional.ofNullable(JSON.readTree(bytes.array()));
    } catch (JsonProcessingException | EOFException e) {
      return Optional.empty();
    }
  }

  /** Where a finished shard's checksums are kept. */
  static String checksumsOf(String shard) {
    return shard + CHECKSUMS;
  }

  /** Notes a shard that is complete under its name. */
  static void finished(Storage storage, String shard, List<PieceMerge.Written> pieces)
      throws IOException {
    ArrayNode list = JSON.createArrayNode();
    for (PieceMerge.Written piece : pieces) {
      list.addArray().add(piece.position()).add(piece.bytes()).add(piece.crc());
    }
    storage.write(checksumsOf(shard), list.toString().getBytes(StandardCharsets.UTF_8));
  }

  /** Whether a shard was finished and is still what it was. */
  boolean holds(ShardPlan.Shard shard) throws IOException {
    Optional<JsonNode> pieces = read(folder, checksumsOf(shard.name()));
    if (pieces.isEmpty() || !folder.holds(shard.name())) {
      return false;
    }
    ByteBuffer header = shard.layout().header().duplicate();
    try (ByteReader reader = folder.open(shard.name())) {
      if (reader.size() != shard.layout().fileBytes()
          || crc(reader, 0, header.limit()) != crc(header)) {
        return false;
      }
      long checked = header.limit();
      for (JsonNode piece : pieces.get()) {
        long bytes = piece.path(1).asLong();
        if (crc(reader, piece.path(0).asLong(), bytes) != piece.path(2).asLong()) {
          return false;
        }
        checked += bytes;
      }
      return checked == reader.size();
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read " + folder.file(shard.name()), e);
    }
  }

  private static long crc(ByteBuffer bytes) {
    CRC32C crc = new CRC32C();
    crc.update(bytes);
    return crc.getValue();
  }

  /** Checksum of a part; -1, which is none, if the file has no such part. */
  private static long crc(ByteReader reader, long from, long bytes) throws IOException {
    if (from < 0 || bytes < 0 || bytes > reader.size() - from) {
      return -1;
    }
    CRC32C crc = new CRC32C();
    ByteBuffer buffer = ByteBuffer.allocate(BUFFER);
    for (long at = from; at < from + bytes; at += buffer.limit()) {
      buffer.clear().limit((int) Math.min(BUFFER, from + bytes - at));
      reader.readFully(buffer, at);
      crc.update(buffer.flip());
    }
    return crc.getValue();
  }
}
