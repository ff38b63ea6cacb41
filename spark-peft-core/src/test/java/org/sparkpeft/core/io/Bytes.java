package org.sparkpeft.core.io;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Random;

/** Bytes of safetensors files, well-formed or not. */
final class Bytes {
  private Bytes() {}

  /** A file with this header, whatever it says, and so many data bytes. */
  static byte[] safetensors(String header, int dataBytes) {
    byte[] json = header.getBytes(StandardCharsets.UTF_8);
    return withLength(json.length, json, dataBytes);
  }

  static byte[] withLength(long length, byte[] json, int dataBytes) {
    ByteBuffer file =
        ByteBuffer.allocate(8 + json.length + dataBytes).order(ByteOrder.LITTLE_ENDIAN);
    return file.putLong(length).put(json).array();
  }

  /** One to four random edits: flips, cuts, insertions, repeats, zeroed stretches. */
  static byte[] mutate(byte[] original, Random random, int focus) {
    byte[] bytes = original.clone();
    int edits = 1 + random.nextInt(4);
    for (int i = 0; i < edits && bytes.length > 0; i++) {
      int at =
          random.nextInt(random.nextInt(4) == 0 ? bytes.length : Math.min(focus, bytes.length));
      bytes =
          switch (random.nextInt(6)) {
            case 0 -> flip(bytes, at, 1 << random.nextInt(8));
            case 1 -> flip(bytes, at, random.nextInt(256));
            case 2 -> splice(bytes, 0, at, bytes.length, bytes.length);
            case 3 ->
                splice(
                    bytes, 0, at, Math.min(bytes.length, at + 1 + random.nextInt(9)), bytes.length);
            case 4 ->
                splice(bytes, 0, Math.min(bytes.length, at + random.nextInt(40)), at, bytes.length);
            default -> put(bytes, at, "0123456789{}[]\",:-e.".charAt(random.nextInt(20)));
          };
    }
    return bytes;
  }

  private static byte[] flip(byte[] bytes, int at, int mask) {
    bytes[at] ^= (byte) mask;
    return bytes;
  }

  private static byte[] put(byte[] bytes, int at, char c) {
    bytes[at] = (byte) c;
    return bytes;
  }

  private static byte[] splice(byte[] bytes, int a, int b, int c, int d) {
    ByteBuffer out = ByteBuffer.allocate(b - a + d - c);
    return out.put(bytes, a, b - a).put(bytes, c, d - c).array();
  }

  static TensorData floats(String name, List<Integer> shape, float... values) {
    return TensorData.ofFloats(name, shape, values);
  }
}
