package org.sparkpeft.core.io;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/** Writes protocol buffers messages field by field. */
final class OnnxBytes {
  private final ByteArrayOutputStream out = new ByteArrayOutputStream();

  static byte[] tensor(String name, int type, byte[] raw, long... dims) {
    OnnxBytes tensor = new OnnxBytes();
    for (long dim : dims) {
      tensor.number(1, dim);
    }
    return tensor.number(2, type).text(8, name).bytes(9, raw).done();
  }

  static byte[] matMul(String name, String... inputs) {
    OnnxBytes node = new OnnxBytes();
    for (String input : inputs) {
      node.text(1, input);
    }
    return node.text(2, "y").text(3, name).text(4, "MatMul").done();
  }

  static byte[] floats(float... values) {
    ByteBuffer bytes = ByteBuffer.allocate(4 * values.length).order(ByteOrder.LITTLE_ENDIAN);
    for (float value : values) {
      bytes.putFloat(value);
    }
    return bytes.array();
  }

  OnnxBytes varint(long value) {
    long rest = value;
    while ((rest & ~0x7fL) != 0) {
      out.write((int) (rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    out.write((int) rest);
    return this;
  }

  OnnxBytes number(int field, long value) {
    return varint(field * 8L).varint(value);
  }

  OnnxBytes bytes(int field, byte[] value) {
    varint(field * 8L + 2).varint(value.length);
    out.writeBytes(value);
    return this;
  }

  OnnxBytes text(int field, String value) {
    return bytes(field, value.getBytes(StandardCharsets.UTF_8));
  }

  OnnxBytes fixed32(int field, float value) {
    varint(field * 8L + 5);
    out.writeBytes(floats(value));
    return this;
  }

  OnnxBytes raw(byte... value) {
    out.writeBytes(value);
    return this;
  }

  byte[] done() {
    return out.toByteArray();
  }

  /** A model whose graph is this message, between fields that a reader skips. */
  byte[] asModel() {
    return new OnnxBytes()
        .number(1, 6)
        .text(2, "pytorch")
        .bytes(7, done())
        .bytes(8, new OnnxBytes().number(2, 11).done())
        .done();
  }
}
