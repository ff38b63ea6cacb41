package org.sparkpeft.core.engine;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.pytorch.engine.PtNDManager;
import ai.djl.pytorch.engine.PtSymbolBlock;
import ai.djl.pytorch.jni.IValueUtils;
import ai.djl.pytorch.jni.JniUtils;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * A function from tensors to a tensor in TorchScript. Differentiable. Holds no tensors, so it works
 * on every device and may be used by several threads.
 */
final class ScriptKernel implements AutoCloseable {
  private static final Map<String, ScriptKernel> SHARED = new ConcurrentHashMap<>();

  private final PtSymbolBlock block;

  /**
   * @param manager owner of the kernel's memory
   * @param source the method {@code forward}, see {@link TorchScriptArchive}
   */
  ScriptKernel(NDManager manager, String source) {
    byte[] archive = TorchScriptArchive.of(source);
    try {
      this.block =
          JniUtils.loadModule(
              (PtNDManager) manager, new ByteArrayInputStream(archive), false, false);
    } catch (IOException e) {
      throw new UncheckedIOException("cannot happen in memory", e);
    }
  }

  /** One that lives as long as the JVM, the same whenever asked for. */
  static ScriptKernel shared(String source) {
    return SHARED.computeIfAbsent(source, ScriptKernel::lasting);
  }

  private static ScriptKernel lasting(String source) {
    return new ScriptKernel(NDManager.newBaseManager(Device.cpu(), TorchEngine.NAME), source);
  }

  /** The result, owned by the first argument's manager. */
  NDArray run(NDArray... arguments) {
    // Per thread: without it the first calls run other code than later ones, with other bits.
    JniUtils.setGraphExecutorOptimize(false);
    return IValueUtils.forward(block, new NDList(arguments), true).singletonOrThrow();
  }

  @Override
  public void close() {
    block.close();
  }
}
