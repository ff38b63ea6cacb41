package org.sparkpeft.federated.client;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Locale;
import org.sparkpeft.core.random.Philox;

/**
 * A row between the DataFrame and the encoder: its text, an optional second text or an image or a
 * recording, and its label as numbers. Travels as bytes.
 *
 * @param text first text
 * @param pair second text, empty when there is none
 * @param rejected third text, empty when there is none
 * @param media image or recording, where there is no text
 * @param targets one class index, one regression value, or one 0/1 for each label
 * @param task number of the task, 0 where there is one only
 */
record RawExample(
    String text, String pair, String rejected, Media media, Targets targets, int task) {

  RawExample(String text, String pair, Targets targets) {
    this(text, pair, "", Media.NONE, targets, 0);
  }

  RawExample withTask(int number) {
    return new RawExample(text, pair, rejected, media, targets, number);
  }

  /** A value-equal float array. */
  static final class Targets {
    private final float[] values;

    Targets(float... values) {
      this.values = values.clone();
    }

    float[] values() {
      return values.clone();
    }

    /** The single class index, for tasks that have one. */
    int classIndex() {
      return (int) values[0];
    }

    @Override
    public boolean equals(Object other) {
      return other instanceof Targets that && Arrays.equals(values, that.values);
    }

    @Override
    public int hashCode() {
      return Arrays.hashCode(values);
    }

    @Override
    public String toString() {
      return Arrays.toString(values);
    }
  }

  /**
   * A string that orders rows by {@code group}, then by a seeded hash of the content, then by the
   * content: the same for the same content wherever it came from.
   */
  String sortKey(long seed, int group) {
    String third = rejected.isEmpty() ? "" : '\u0001' + rejected;
    String content = text + '\u0001' + pair + '\u0001' + targets + third;
    if (!media.isNone()) {
      content += '\u0001' + media.sha256();
    }
    if (task > 0) {
      content += '\u0001' + Integer.toString(task);
    }
    long hash = Philox.mix(Philox.hash(content) ^ Philox.mix(seed));
    return String.format(Locale.ROOT, "%08x%016x", group, hash) + content;
  }

  byte[] toBytes() {
    try {
      ByteArrayOutputStream bytes =
          new ByteArrayOutputStream(text.length() + pair.length() + media.data().size() + 64);
      DataOutputStream out = new DataOutputStream(bytes);
      writeText(out, text);
      writeText(out, pair);
      writeText(out, rejected);
      media.write(out);
      out.writeInt(targets.values.length);
      for (float value : targets.values) {
        out.writeFloat(value);
      }
      out.writeInt(task);
      return bytes.toByteArray();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static RawExample fromBytes(byte[] bytes) {
    try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
      String text = readText(in);
      String pair = readText(in);
      String rejected = readText(in);
      Media media = Media.read(in);
      int count = in.readInt();
      if (count < 0 || count > in.available() / Float.BYTES) {
        throw new IOException(count + " targets in " + in.available() + " bytes");
      }
      float[] values = new float[count];
      for (int i = 0; i < count; i++) {
        values[i] = in.readFloat();
      }
      return new RawExample(text, pair, rejected, media, new Targets(values), in.readInt());
    } catch (IOException e) {
      throw new UncheckedIOException("a row is malformed", e);
    }
  }

  /** {@code writeUTF} stops at 64 KiB; texts do not. */
  private static void writeText(DataOutputStream out, String text) throws IOException {
    byte[] utf8 = text.getBytes(StandardCharsets.UTF_8);
    out.writeInt(utf8.length);
    out.write(utf8);
  }

  private static String readText(DataInputStream in) throws IOException {
    int length = in.readInt();
    if (length < 0 || length > in.available()) {
      throw new IOException("text of " + length + " bytes in " + in.available());
    }
    return new String(in.readNBytes(length), StandardCharsets.UTF_8);
  }
}
