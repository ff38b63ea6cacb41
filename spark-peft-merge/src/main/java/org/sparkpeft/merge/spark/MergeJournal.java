package org.sparkpeft.merge.spark;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.zip.CRC32C;
import org.sparkpeft.core.io.AtomicFiles;

/**
 * What is done of a merge, as a small JSON file beside the shards: of which merge, and for each
 * finished shard the checksums of its pieces.
 */
final class MergeJournal {
  static final String FILE = "merge-journal.json";
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final int BUFFER = 1 << 20;

  private final Path folder;
  private final ObjectNode content;

  private MergeJournal(Path folder, ObjectNode content) {
    this.folder = folder;
    this.content = content;
  }

  /**
   * The journal of a folder; started anew, and the folder emptied, if there is none or it is of
   * another merge.
   *
   * @param fingerprint of everything that decides the result
   */
  static MergeJournal open(Path folder, String fingerprint) throws IOException {
    Path file = folder.resolve(FILE);
    if (Files.isRegularFile(file)) {
      try {
        JsonNode read = JSON.readTree(Files.readAllBytes(file));
        if (read instanceof ObjectNode object
            && object.path("merge").asText().equals(fingerprint)
            && object.path("shards") instanceof ObjectNode) {
          return new MergeJournal(folder, object);
        }
      } catch (com.fasterxml.jackson.core.JsonProcessingException e) {
        // Written by renaming, so never half: someone else's file. It goes with the folder.
        AtomicFiles.deleteTree(file);
      }
    }
    AtomicFiles.deleteTree(folder);
    Files.createDirectories(folder);
    ObjectNode fresh = JSON.createObjectNode().put("merge", fingerprint);
    fresh.putObject("shards");
    MergeJournal journal = new MergeJournal(folder, fresh);
    journal.write();
    return journal;
  }

  /** Notes a shard that is complete under its name. */
  void finished(String shard, List<PieceMerge.Written> pieces) {
    ArrayNode list = ((ObjectNode) content.get("shards")).putArray(shard);
    for (PieceMerge.Written piece : pieces) {
      list.addArray().add(piece.position()).add(piece.bytes()).add(piece.crc());
    }
    write();
  }

  private void write() {
    AtomicFiles.write(
        folder.resolve(FILE), content.toString().getBytes(java.nio.charset.StandardCharsets.UTF_8));
  }

  /** Whether a shard was finished and is still what it was. */
  boolean holds(String shard, ByteBuffer header, long fileBytes) {
    JsonNode pieces = content.get("shards").get(shard);
    Path file = folder.resolve(shard);
    if (pieces == null || !Files.isRegularFile(file)) {
      return false;
    }
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
      if (channel.size() != fileBytes
          || crc(channel, 0, header.limit()) != crc(header.duplicate())) {
        return false;
      }
      for (JsonNode piece : pieces) {
        long crc = crc(channel, piece.get(0).asLong(), piece.get(1).asLong());
        if (crc != piece.get(2).asLong()) {
          return false;
        }
      }
      return true;
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read " + file, e);
    }
  }

  private static long crc(ByteBuffer bytes) {
    CRC32C crc = new CRC32C();
    crc.update(bytes);
    return crc.getValue();
  }

  private static long crc(FileChannel channel, long from, long bytes) throws IOException {
    CRC32C crc = new CRC32C();
    ByteBuffer buffer = ByteBuffer.allocateDirect(BUFFER);
    long at = from;
    while (at < from + bytes) {
      buffer.clear().limit((int) Math.min(BUFFER, from + bytes - at));
      int n = channel.read(buffer, at);
      if (n < 0) {
        return -1;
      }
      crc.update(buffer.flip());
      at += n;
    }
    return crc.getValue();
  }
}
