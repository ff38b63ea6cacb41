package org.sparkpeft.core.metric;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import org.sparkpeft.core.error.FormatException;

/**
 * Figures of generated texts, as exact counts: adding the scores of parts, in any order, gives
 * those of the whole, to the last bit. Immutable.
 */
public final class TextScores {
  private final List<TextMetric> metrics;
  private final long texts;
  private final long[] parts;
  private final long[] wholes;

  private TextScores(List<TextMetric> metrics, long texts, long[] parts, long[] wholes) {
    this.metrics = List.copyOf(metrics);
    this.texts = texts;
    this.parts = parts;
    this.wholes = wholes;
  }

  /** Nothing yet. */
  public static TextScores of(List<TextMetric> metrics) {
    return new TextScores(metrics, 0, new long[metrics.size()], new long[metrics.size()]);
  }

  /** With one text more. */
  public TextScores with(String said, String reference) {
    Share[] shares = new Share[metrics.size()];
    for (int i = 0; i < shares.length; i++) {
      shares[i] = metrics.get(i).compare(said, reference);
    }
    return added(1, shares);
  }

  /** These counts as bytes, for {@link #plusBytes}. */
  public byte[] toBytes() {
    ByteBuffer bytes = ByteBuffer.allocate(size(metrics)).putLong(texts);
    for (int i = 0; i < parts.length; i++) {
      bytes.putLong(parts[i]).putLong(wholes[i]);
    }
    return bytes.array();
  }

  /**
   * With the counts that {@link #toBytes} wrote, of the same metrics.
   *
   * @throws FormatException if the bytes are anything else
   */
  public TextScores plusBytes(byte[] written) {
    if (written.length != size(metrics)) {
      throw new FormatException(
          "text scores",
          "must be " + size(metrics) + " bytes for " + metrics + ", got " + written.length);
    }
    ByteBuffer bytes = ByteBuffer.wrap(written);
    long more = bytes.getLong();
    Share[] shares = new Share[metrics.size()];
    for (int i = 0; i < shares.length; i++) {
      shares[i] = new Share(bytes.getLong(), bytes.getLong());
    }
    return added(more, shares);
  }

  private static int size(List<TextMetric> metrics) {
    return Long.BYTES * (1 + 2 * metrics.size());
  }

  private TextScores added(long more, Share[] shares) {
    long[] newParts = new long[shares.length];
    long[] newWholes = new long[shares.length];
    for (int i = 0; i < shares.length; i++) {
      Share sum = new Share(parts[i], wholes[i]).plus(shares[i]);
      newParts[i] = sum.part();
      newWholes[i] = sum.whole();
    }
    return new TextScores(metrics, texts + more, newParts, newWholes);
  }

  /** Texts compared. */
  public long texts() {
    return texts;
  }

  /** The figures by name. */
  public SortedMap<String, Double> values() {
    SortedMap<String, Double> values = new TreeMap<>();
    for (int i = 0; i < metrics.size(); i++) {
      values.put(metrics.get(i).configName(), new Share(parts[i], wholes[i]).value());
    }
    return values;
  }
}
