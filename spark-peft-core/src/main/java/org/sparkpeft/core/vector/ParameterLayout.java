package org.sparkpeft.core.vector;

import java.io.Serializable;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Names, shapes and offsets of the tensors in a flat parameter vector. Tensors are ordered by the
 * UTF-8 bytes of their names (compression.md, section 0), each stored row-major, one after the
 * other, so that every node agrees on the order. Immutable.
 */
public final class ParameterLayout implements Serializable {
  private static final long serialVersionUID = 1L;

  /**
   * One tensor's place.
   *
   * @param name tensor name, for example {@code encoder.layer.0.attention.self.query.lora_A.weight}
   * @param shape dimensions; empty for a scalar
   * @param offset index of its first entry in the flat vector
   * @param size number of entries
   */
  public record Entry(String name, List<Integer> shape, int offset, int size)
      implements Serializable {
    public Entry {
      shape = List.copyOf(shape);
    }

    /** Index after the last entry. */
    public int end() {
      return offset + size;
    }
  }

  private final List<Entry> entries;
  private final int size;
  private final long fingerprint;

  private ParameterLayout(List<Entry> entries, int size) {
    this.entries = entries;
    this.size = size;
    this.fingerprint = fingerprintOf(entries);
  }

  /**
   * Lays out the given tensors in UTF-8 name order.
   *
   * @throws IllegalArgumentException if a dimension is below 1, a name is blank, or the total
   *     exceeds {@code Integer.MAX_VALUE - 8}
   */
  public static ParameterLayout of(Map<String, ? extends Collection<Integer>> shapes) {
    List<String> names = new ArrayList<>(shapes.keySet());
    names.sort(UTF8_ORDER);
    List<Entry> entries = new ArrayList<>(names.size());
    long offset = 0;
    for (String name : names) {
      if (name.isBlank()) {
        throw new IllegalArgumentException("a tensor's name must not be blank");
      }
      List<Integer> shape = List.copyOf(shapes.get(name));
      long count = 1;
      for (int dimension : shape) {
        if (dimension < 1) {
          throw new IllegalArgumentException(
              "dimensions of " + name + " must be at least 1, got " + shape);
        }
        count = Math.multiplyExact(count, (long) dimension);
      }
      if (offset + count > Integer.MAX_VALUE - 8) {
        throw new IllegalArgumentException(
            "a flat vector holds at most "
                + (Integer.MAX_VALUE - 8)
                + " entries; "
                + name
                + " would end at "
                + (offset + count));
      }
      entries.add(new Entry(name, shape, (int) offset, (int) count));
      offset += count;
    }
    return new ParameterLayout(List.copyOf(entries), (int) offset);
  }

  /** Order by unsigned UTF-8 bytes, which for Java strings is order by code point. */
  public static final Comparator<String> UTF8_ORDER =
      (a, b) ->
          java.util.Arrays.compareUnsigned(
              a.getBytes(StandardCharsets.UTF_8), b.getBytes(StandardCharsets.UTF_8));

  /** Tensors in layout order. */
  public List<Entry> entries() {
    return entries;
  }

  /** Total number of entries. */
  public int size() {
    return size;
  }

  /**
   * 64-bit identity of names, order and shapes: the first eight bytes (big-endian) of a SHA-256.
   * Payloads and checkpoints carry it.
   */
  public long fingerprint() {
    return fingerprint;
  }

  public boolean contains(String name) {
    return entries.stream().anyMatch(e -> e.name().equals(name));
  }

  /**
   * @throws IllegalArgumentException if there is no such tensor
   */
  public Entry entry(String name) {
    return entries.stream()
        .filter(e -> e.name().equals(name))
        .findFirst()
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "no tensor named " + name + " in this layout of " + entries.size()));
  }

  /** Names and shapes, in layout order. */
  public Map<String, List<Integer>> shapes() {
    Map<String, List<Integer>> shapes = new LinkedHashMap<>();
    entries.forEach(e -> shapes.put(e.name(), e.shape()));
    return shapes;
  }

  private static long fingerprintOf(List<Entry> entries) {
    try {
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      for (Entry entry : entries) {
        digest.update(entry.name().getBytes(StandardCharsets.UTF_8));
        digest.update(entry.shape().toString().getBytes(StandardCharsets.UTF_8));
        digest.update((byte) '\n');
      }
      return ByteBuffer.wrap(digest.digest()).getLong();
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java runtime has SHA-256", e);
    }
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof ParameterLayout that && entries.equals(that.entries);
  }

  @Override
  public int hashCode() {
    return Long.hashCode(fingerprint);
  }

  @Override
  public String toString() {
    return "ParameterLayout["
        + entries.size()
        + " tensors, "
        + size
        + " entries, "
        + Long.toHexString(fingerprint)
        + "]";
  }
}
