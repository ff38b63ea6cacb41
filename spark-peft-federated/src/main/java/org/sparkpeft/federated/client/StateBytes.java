package org.sparkpeft.federated.client;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.sparkpeft.core.io.DType;
import org.sparkpeft.core.io.TensorData;
import org.sparkpeft.core.peft.MethodState;

/** A method's state as it travels from the driver to executors. */
public final class StateBytes implements Serializable {
  private static final long serialVersionUID = 1L;

  /** Of methods that are their parameters alone. */
  public static final StateBytes EMPTY = new StateBytes(new byte[0]);

  private final byte[] bytes;

  private StateBytes(byte[] bytes) {
    this.bytes = bytes;
  }

  public static StateBytes of(MethodState state) {
    if (state.isEmpty()) {
      return EMPTY;
    }
    try {
      ByteArrayOutputStream buffer = new ByteArrayOutputStream();
      DataOutputStream out = new DataOutputStream(buffer);
      out.writeInt(state.tensors().size());
      for (TensorData tensor : state.tensors().values()) {
        ByteBuffer raw = tensor.raw();
        byte[] content = new byte[raw.remaining()];
        raw.get(content);
        out.writeUTF(tensor.name());
        out.writeUTF(tensor.dtype().name());
        out.writeInt(tensor.shape().size());
        for (int dimension : tensor.shape()) {
          out.writeInt(dimension);
        }
        out.writeInt(content.length);
        out.write(content);
      }
      return new StateBytes(buffer.toByteArray());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** A copy of bytes that {@link #toArray} gave. */
  static StateBytes read(byte[] bytes) {
    return new StateBytes(bytes.clone());
  }

  byte[] toArray() {
    return bytes.clone();
  }

  /** What {@link #of} took. */
  public MethodState state() {
    if (bytes.length == 0) {
      return MethodState.EMPTY;
    }
    try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
      Map<String, TensorData> tensors = new LinkedHashMap<>();
      int count = in.readInt();
      for (int i = 0; i < count; i++) {
        String name = in.readUTF();
        DType dtype = DType.valueOf(in.readUTF());
        List<Integer> shape = new ArrayList<>();
        for (int rank = in.readInt(); rank > 0; rank--) {
          shape.add(in.readInt());
        }
        byte[] content = in.readNBytes(in.readInt());
        tensors.put(name, TensorData.of(name, dtype, shape, ByteBuffer.wrap(content)));
      }
      return MethodState.of(tensors);
    } catch (IOException e) {
      throw new UncheckedIOException("a method's state is malformed", e);
    }
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof StateBytes that && Arrays.equals(bytes, that.bytes);
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(bytes);
  }

  @Override
  public String toString() {
    return bytes.length + " bytes of state";
  }
}
