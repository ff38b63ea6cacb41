package org.sparkpeft.core.engine;

import ai.djl.engine.Engine;
import ai.djl.engine.EngineException;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import com.sun.jna.Memory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Collection;
import java.util.function.Consumer;

/** Starting the engine, and tensors whose memory the engine owns. */
public final class TorchEngine {
  static final String NAME = "PyTorch";
  private static final String OPT_OUT = "OPT_OUT_TRACKING";

  private TorchEngine() {}

  /**
   * Loads the native libraries if this has not happened yet in this JVM; then does nothing.
   *
   * @throws org.sparkpeft.core.error.ConfigException if they are not there or do not load
   */
  public static void start() {
    stayAtHome();
    try {
      Engine.getEngine(NAME);
    } catch (EngineException e) {
      throw NativeLibraries.refusal(e, System.getenv());
    }
  }

  /**
   * Keeps DJL from reporting its use to its makers, which it does by default when it starts; a user
   * who wants that sets {@code OPT_OUT_TRACKING=false}.
   */
  private static void stayAtHome() {
    if (System.getenv(OPT_OUT) == null && System.getProperty(OPT_OUT) == null) {
      System.setProperty(OPT_OUT, "true");
    }
  }

  /** The engine's name and version, for run records. */
  public static String version() {
    start();
    return NAME + " " + Engine.getEngine(NAME).getVersion();
  }

  /**
   * A float32 tensor whose memory is freed when {@code manager} closes. (A tensor made from a Java
   * buffer would keep that buffer, which only the garbage collector frees.)
   *
   * @param shape dimensions whose product is {@code values.length}
   */
  public static NDArray tensor(NDManager manager, float[] values, Collection<Integer> shape) {
    long[] dimensions = shape.stream().mapToLong(Integer::longValue).toArray();
    return owned(
        manager,
        4L * values.length,
        buffer -> buffer.asFloatBuffer().put(values),
        new Shape(dimensions),
        DataType.FLOAT32);
  }

  /** As {@link #tensor(NDManager, float[], Collection)}, of bytes 0..255, {@code [bytes]}. */
  static NDArray tensor(NDManager manager, byte[] values) {
    return owned(
        manager,
        values.length,
        buffer -> buffer.put(values).rewind(),
        new Shape(values.length),
        DataType.UINT8);
  }

  /** The buffer in between is freed here, not some time by the garbage collector. */
  private static NDArray owned(
      NDManager manager, long bytes, Consumer<ByteBuffer> fill, Shape shape, DataType dataType) {
    try (Memory memory = new Memory(Math.max(1, bytes))) {
      ByteBuffer buffer = memory.getByteBuffer(0, bytes).order(ByteOrder.nativeOrder());
      fill.accept(buffer);
      NDArray borrowed = manager.create(buffer, shape, dataType);
      if (manager.getDevice().isGpu()) {
        return borrowed; // already a copy in the GPU's memory
      }
      try (borrowed) {
        return borrowed.duplicate();
      }
    }
  }
}
