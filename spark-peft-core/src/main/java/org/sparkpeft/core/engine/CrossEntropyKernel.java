package org.sparkpeft.core.engine;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import ai.djl.pytorch.engine.PtSymbolBlock;
import ai.djl.pytorch.jni.IValueUtils;
import ai.djl.pytorch.jni.JniUtils;

/**
 * Cross entropy of classes given by number, which needs no matrix of one-hot rows. Differentiable.
 * Immutable; may be used by several threads.
 */
public final class CrossEntropyKernel {
  /** Number of a class that does not count. */
  public static final int IGNORE = -100;

  private static final String SOURCE =
      "  def forward(self: __torch__.Kernel,\n    logits: Tensor,\n    labels: Tensor"
          + ") -> Tensor:\n"
          + "    return torch.cross_entropy_loss(logits, labels, None, 0, -100)\n";

  private final PtSymbolBlock block;

  /** One for each device would be needed only if it held tensors; it holds none. */
  private static final class Shared {
    static final CrossEntropyKernel KERNEL =
        new CrossEntropyKernel(NDManager.newBaseManager(Device.cpu(), TorchEngine.NAME));
  }

  /** The kernel that all tasks of a JVM share; lives as long as the JVM. */
  public static CrossEntropyKernel shared() {
    return Shared.KERNEL;
  }

  /**
   * @param manager owner of the kernel's memory
   */
  private CrossEntropyKernel(NDManager manager) {
    this.block = AttentionKernel.load(manager, SOURCE);
  }

  /**
   * The loss of each row, 0 where the class is {@link #IGNORE}.
   *
   * @param logits {@code [rows, classes]}
   * @param labels a class for each row
   * @return {@code [rows]}
   */
  public NDArray apply(NDArray logits, long[] labels) {
    JniUtils.setGraphExecutorOptimize(false);
    NDArray numbers = logits.getManager().create(labels, new Shape(labels.length));
    return IValueUtils.forward(block, new NDList(logits, numbers), true).singletonOrThrow();
  }
}
