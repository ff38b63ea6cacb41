package org.sparkpeft.federated.client;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import org.sparkpeft.core.media.MediaReader;

/**
 * An image or a recording as a row holds it.
 *
 * @param source what it is, for messages: the file, or a hash of the bytes
 * @param height pixels from top to bottom of an image that is decoded already; 0 of a file
 * @param width pixels from left to right
 * @param channels levels of a pixel
 * @param data a file, or the levels
 */
record Media(String source, int height, int width, int channels, Bytes data) {
  /** What a row of text has. */
  static final Media NONE = new Media("", 0, 0, 0, Bytes.EMPTY);

  static Media file(String source, byte[] bytes) {
    return new Media(source, 0, 0, 0, Bytes.wrap(bytes));
  }

  boolean isNone() {
    return data.size() == 0 && source.isEmpty();
  }

  /**
   * The numbers a model reads.
   *
   * @throws org.sparkpeft.core.error.DataException if the bytes are not what they should be
   */
  MediaReader.Values read(MediaReader reader) {
    return height == 0
        ? reader.file(source, data.array())
        : reader.pixels(source, height, width, channels, data.array());
  }

  /** SHA-256 of the content, wherever it lay. */
  String sha256() {
    return height + "x" + width + "x" + channels + ":" + sha256(data.array());
  }

  static String sha256(byte[] bytes) {
    try {
      return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java runtime has SHA-256", e);
    }
  }

  void write(DataOutputStream out) throws IOException {
    byte[] name = source.getBytes(StandardCharsets.UTF_8);
    out.writeInt(name.length);
    out.write(name);
    out.writeInt(height);
    out.writeInt(width);
    out.writeInt(channels);
    out.writeInt(data.size());
    out.write(data.array());
  }

  static Media read(DataInputStream in) throws IOException {
    String source = new String(bytes(in), StandardCharsets.UTF_8);
    return new Media(source, in.readInt(), in.readInt(), in.readInt(), Bytes.wrap(bytes(in)));
  }

  private static byte[] bytes(DataInputStream in) throws IOException {
    int length = in.readInt();
    if (length < 0 || length > in.available()) {
      throw new IOException(length + " bytes in " + in.available());
    }
    return in.readNBytes(length);
  }
}
