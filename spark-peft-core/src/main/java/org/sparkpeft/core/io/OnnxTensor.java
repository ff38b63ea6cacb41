package org.sparkpeft.core.io;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.Supplier;

/**
 * One TensorProto of an ONNX file; values stay in the mapped file.
 *
 * @param name initialiser name
 * @param dataType ONNX type number; 1 is float32
 * @param shape as stored
 * @param message readers of the message, which is walked again when values are wanted
 */
record OnnxTensor(String name, int dataType, List<Integer> shape, Supplier<ProtoReader> message) {
  private static final int DIMS = 1;
  private static final int DATA_TYPE = 2;
  private static final int FLOAT_DATA = 4;
  private static final int NAME = 8;
  private static final int RAW_DATA = 9;
  private static final int DATA_LOCATION = 14;

  private static final int FLOAT = 1;
  private static final int EXTERNAL = 1;
  private static final int MAX_DIMENSIONS = 64;

  boolean isFloat() {
    return dataType == FLOAT;
  }

  /** Reads the tensor that is the current field of {@code graph}, and checks its length. */
  static OnnxTensor read(ProtoReader graph) {
    Supplier<ProtoReader> message = graph.messageAgain();
    ProtoReader proto = message.get();
    String name = "";
    int dataType = 0;
    List<Integer> shape = new ArrayList<>();
    long dataBytes = 0;
    int dataField = 0;
    while (proto.next()) {
      switch (proto.field()) {
        case DIMS -> addDimensions(proto, shape);
        case DATA_TYPE -> dataType = (int) proto.number();
        case NAME -> name = proto.text();
        case FLOAT_DATA, RAW_DATA -> {
          if (dataField == RAW_DATA || (dataField == FLOAT_DATA && proto.field() == RAW_DATA)) {
            throw proto.wrong("a tensor holds its values twice");
          }
          dataField = proto.field();
          dataBytes += dataField == RAW_DATA ? proto.bytes().remaining() : floatBytes(proto);
        }
        case DATA_LOCATION -> {
          if (proto.number() == EXTERNAL) {
            throw proto.wrong("the values of " + name + " lie in another file, which is refused");
          }
        }
        default -> {}
      }
    }
    OnnxTensor tensor = new OnnxTensor(name, dataType, List.copyOf(shape), message);
    if (tensor.isFloat()) {
      tensor.requireLength(graph, dataBytes);
    }
    return tensor;
  }

  private static void addDimensions(ProtoReader proto, List<Integer> shape) {
    for (long dimension : proto.numbers(MAX_DIMENSIONS)) {
      if (dimension < 0 || dimension > Integer.MAX_VALUE) {
        throw proto.wrong(
            "a dimension must be within 0.." + Integer.MAX_VALUE + ", got " + dimension);
      }
      if (shape.size() == MAX_DIMENSIONS) {
        throw proto.wrong("a tensor has at most " + MAX_DIMENSIONS + " dimensions");
      }
      shape.add((int) dimension);
    }
  }

  private static int floatBytes(ProtoReader proto) {
    boolean ok = proto.isFixed32() || (proto.isBytes() && proto.valueBytes() % 4 == 0);
    if (!ok) {
      throw proto.wrong("float_data must hold whole 4-byte floats");
    }
    return proto.valueBytes();
  }

  private void requireLength(ProtoReader graph, long bytes) {
    long expected;
    try {
      expected = Math.multiplyExact(Shapes.count(shape), 4L);
    } catch (ArithmeticException e) {
      throw graph.wrong(name + " has the shape " + shape + ", whose size exceeds 63 bits");
    }
    if (expected != bytes) {
      throw graph.wrong(name + " " + shape + " takes " + expected + " bytes, holds " + bytes);
    }
  }

  /** The values as stored, row-major. */
  float[] floats() {
    float[] values = new float[(int) Shapes.count(shape)];
    int at = 0;
    ProtoReader proto = message.get();
    while (proto.next()) {
      if (proto.field() == RAW_DATA || proto.field() == FLOAT_DATA) {
        ByteBuffer piece = proto.view();
        Elements.toFloats(DType.F32, piece, values, at);
        at += piece.remaining() / 4;
      }
    }
    return values;
  }

  /** A view of the values if they lie in {@code raw_data}. */
  Optional<ByteBuffer> raw() {
    ProtoReader proto = message.get();
    while (proto.next()) {
      if (proto.field() == RAW_DATA) {
        return Optional.of(proto.view());
      }
    }
    return Optional.empty();
  }
}
