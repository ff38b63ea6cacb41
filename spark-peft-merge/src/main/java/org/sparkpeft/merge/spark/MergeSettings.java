package org.sparkpeft.merge.spark;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.Collections;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.merge.storage.Storage;

/**
 * Where and how the result of a merge is written.
 *
 * @param out the new model directory, a path or a URI
 * @param config its config.json
 * @param companions locations of tokenizer and other files to copy into it, by file name
 * @param maxShardBytes most bytes of tensors in a file; 5 GB is usual
 * @param memoryBytes most bytes of buffers, of all threads together
 * @param pieceEntries entries of a piece of work; changes no bit of the result
 */
public record MergeSettings(
    String out,
    JsonNode config,
    SortedMap<String, String> companions,
    long maxShardBytes,
    long memoryBytes,
    long pieceEntries) {
  /** Entries of a piece: small enough to share out evenly, large enough not to count. */
  public static final long PIECE_ENTRIES = 1L << 22;

  /** What a merge may use at least: less does not hold the buffers of one thread. */
  private static final long LEAST_MEMORY = 64L << 20;

  public MergeSettings {
    out = Storage.absolute(out);
    companions = Collections.unmodifiableSortedMap(new TreeMap<>(companions));
    if (maxShardBytes < 1 || memoryBytes < LEAST_MEMORY || pieceEntries < 1) {
      throw new IllegalArgumentException(
          "a shard needs at least 1 byte, a merge "
              + LEAST_MEMORY
              + " bytes of memory and pieces an entry, got "
              + maxShardBytes
              + ", "
              + memoryBytes
              + " and "
              + pieceEntries);
    }
  }

  /** Shards of 5 GB and 1 GiB of memory, no companions. */
  public static MergeSettings of(String out, JsonNode config) {
    return new MergeSettings(out, config, new TreeMap<>(), 5_000_000_000L, 1L << 30, PIECE_ENTRIES);
  }
}
