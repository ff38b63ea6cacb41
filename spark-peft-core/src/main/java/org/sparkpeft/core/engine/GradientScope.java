package org.sparkpeft.core.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.pytorch.engine.PtNDArray;
import ai.djl.pytorch.jni.JniUtils;

/**
 * Records operations of the calling thread for differentiation until closed. Recording is a
 * property of the thread, so any number of threads may each have a scope. (DJL's own
 * GradientCollector allows one in the whole JVM.)
 */
public final class GradientScope implements AutoCloseable {
  private final boolean before;
  private final Thread owner = Thread.currentThread();

  private GradientScope(boolean before) {
    this.before = before;
  }

  public static GradientScope open() {
    TorchEngine.start();
    GradientScope scope = new GradientScope(JniUtils.isGradMode());
    JniUtils.setGradMode(true);
    return scope;
  }

  /** Records nothing until closed, within another scope or without one. */
  public static GradientScope paused() {
    TorchEngine.start();
    GradientScope scope = new GradientScope(JniUtils.isGradMode());
    JniUtils.setGradMode(false);
    return scope;
  }

  /**
   * Adds the derivative of {@code loss} to the gradient of every leaf it was computed from, and
   * frees the recorded graph.
   *
   * @param loss a tensor with one entry
   */
  public void backward(NDArray loss) {
    NDManager manager = loss.getManager();
    try (NDArray one = manager.ones(loss.getShape())) {
      JniUtils.backward((PtNDArray) loss, (PtNDArray) one, false, false);
    }
  }

  /** Puts the thread's recording mode back to what it was. */
  @Override
  public void close() {
    if (Thread.currentThread() != owner) {
      throw new IllegalStateException("a gradient scope is closed by the thread that opened it");
    }
    JniUtils.setGradMode(before);
  }
}
