package org.sparkpeft.core.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.pytorch.engine.PtNDArray;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;

/**
 * Whether a tensor's memory is a Java buffer, which the garbage collector takes once the tensor is
 * closed, even where a recorded graph still refers to the tensor. DJL knows and does not say.
 */
final class JavaBuffers {
  private static final VarHandle BUFFER = buffer();

  private JavaBuffers() {}

  private static VarHandle buffer() {
    try {
      return MethodHandles.privateLookupIn(PtNDArray.class, MethodHandles.lookup())
          .findVarHandle(PtNDArray.class, "dataRef", ByteBuffer.class);
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException(
          "this version of DJL's PyTorch engine keeps Java buffers elsewhere; use 0.36.0", e);
    }
  }

  static boolean isIn(NDArray array) {
    return BUFFER.get((PtNDArray) array) != null;
  }
}
