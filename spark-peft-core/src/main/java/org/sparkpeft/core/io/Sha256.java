package org.sparkpeft.core.io;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/** A SHA-256 that takes its input in pieces and answers in lower-case hexadecimal. */
public final class Sha256 {
  private static final int BUFFER = 1 << 16;

  private final MessageDigest digest;

  public Sha256() {
    try {
      digest = MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java runtime has SHA-256", e);
    }
  }

  /** SHA-256 of the bytes. */
  public static String hex(byte[] bytes) {
    return new Sha256().update(bytes).hex();
  }

  /** SHA-256 of a file, read in pieces. */
  public static String hex(Path file) throws IOException {
    try (InputStream in = Files.newInputStream(file)) {
      return hex(in);
    }
  }

  /** SHA-256 of everything the stream still holds; does not close it. */
  public static String hex(InputStream in) throws IOException {
    Sha256 sha = new Sha256();
    byte[] buffer = new byte[BUFFER];
    for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
      sha.update(ByteBuffer.wrap(buffer, 0, n));
    }
    return sha.hex();
  }

  public Sha256 update(byte[] bytes) {
    digest.update(bytes);
    return this;
  }

  /** Adds the bytes from position to limit; the buffer is left at its limit. */
  public Sha256 update(ByteBuffer bytes) {
    digest.update(bytes);
    return this;
  }

  /** Adds the UTF-8 bytes of the text and a zero byte, so that neighbours cannot run together. */
  public Sha256 update(String text) {
    digest.update(text.getBytes(StandardCharsets.UTF_8));
    digest.update((byte) 0);
    return this;
  }

  /** 64 hexadecimal digits; starts over afterwards. */
  public String hex() {
    return HexFormat.of().formatHex(digest.digest());
  }
}
