package org.sparkpeft.core.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.pytorch.engine.PtNDArray;
import ai.djl.pytorch.jni.JniUtils;
import org.jspecify.annotations.Nullable;

/**
 * Records operations of the calling thread for differentiation until closed. Recording is a
 * property of the thread, so any number of threads may each have a scope. (DJL's own
 * GradientCollector allows one in the whole JVM.)
 */
public final class GradientScope implements AutoCloseable {
  private static final ThreadLocal<@Nullable GradientScope> CURRENT = new ThreadLocal<>();

  /** What stays of layers that run in {@link LayerScope} until the backward pass. */
  public enum Keeps {
    /** All that it needs. */
    ALL,
    /** The same, but weights that were unpacked, which are unpacked again, {@link Nf4Tensor}. */
    ALL_BUT_WEIGHTS,
    /** Their input; they are computed a second time, {@link Checkpoints}. */
    INPUTS
  }

  private final boolean before;
  private final @Nullable GradientScope outer;
  private final @Nullable SegmentedPass segments;
  private final Thread owner = Thread.currentThread();

  private GradientScope(boolean records, @Nullable SegmentedPass segments) {
    TorchEngine.start();
    this.before = JniUtils.isGradMode();
    this.outer = CURRENT.get();
    this.segments = segments;
    JniUtils.setGradMode(records);
    CURRENT.set(this);
  }

  public static GradientScope open() {
    return open(Keeps.ALL);
  }

  public static GradientScope open(Keeps keeps) {
    return switch (keeps) {
      case ALL -> new GradientScope(true, null);
      case ALL_BUT_WEIGHTS -> new GradientScope(true, new UnpackedLayers());
      case INPUTS -> {
        NativeMemory.giveBackLargeBlocks();
        yield new GradientScope(true, new Checkpoints());
      }
    };
  }

  /** Records nothing until closed, within another scope or without one. */
  public static GradientScope paused() {
    return new GradientScope(false, null);
  }

  /** How the thread's innermost scope differentiates layers by themselves, if it does. */
  static @Nullable SegmentedPass segments() {
    GradientScope current = CURRENT.get();
    return current == null ? null : current.segments;
  }

  /**
   * Adds the derivative of {@code loss} to the gradient of every leaf it was computed from, and
   * frees the recorded graph.
   *
   * @param loss a tensor with one entry
   */
  public void backward(NDArray loss) {
    backward(loss, loss.getManager().newSubManager());
  }

  /**
   * The same where some tensors have no use afterwards, such as the logits.
   *
   * @param loss a tensor with one entry; nothing depends on it where it has no gradient
   * @param above owner of what was made after the last layer; it is closed before layers are
   *     computed again
   */
  public void backward(NDArray loss, NDManager above) {
    boolean more = segments != null && !segments.isEmpty();
    if (reaches(loss)) {
      addGradients(loss, more);
    }
    if (segments != null) {
      segments.keepOutputs(); // What is above may own the last one.
    }
    above.close();
    if (segments != null) {
      segments.backward();
    }
  }

  /**
   * Adds the derivative of a tensor with one entry to the gradients of what it was computed from.
   *
   * @param keeps whether the graph may be gone through again
   */
  static void addGradients(NDArray loss, boolean keeps) {
    try (NDArray one = loss.getManager().ones(loss.getShape())) {
      JniUtils.backward((PtNDArray) loss, (PtNDArray) one, keeps, false);
    }
  }

  /** Whether a gradient reaches a tensor: it is a leaf that has one, or was recorded from one. */
  static boolean reaches(NDArray array) {
    return array.hasGradient() || RecordedKernel.isRecorded(array);
  }

  /** Puts the thread's recording mode back to what it was. */
  @Override
  public void close() {
    if (Thread.currentThread() != owner) {
      throw new IllegalStateException("a gradient scope is closed by the thread that opened it");
    }
    JniUtils.setGradMode(before);
    if (outer == null) {
      CURRENT.remove();
    } else {
      CURRENT.set(outer);
    }
  }
}
