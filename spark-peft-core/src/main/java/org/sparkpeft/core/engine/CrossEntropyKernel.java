package org.sparkpeft.core.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.Shape;

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

  private final ScriptKernel kernel = ScriptKernel.shared(SOURCE);

  private static final class Shared {
    static final CrossEntropyKernel KERNEL = new CrossEntropyKernel();
  }

  private CrossEntropyKernel() {}

  /** The kernel that all tasks of a JVM share; lives as long as the JVM. */
  public static CrossEntropyKernel shared() {
    return Shared.KERNEL;
  }

  /**
   * The loss of each row, 0 where the class is {@link #IGNORE}.
   *
   * @param logits {@code [rows, classes]}
   * @param labels a class for each row
   * @return {@code [rows]}
   */
  public NDArray apply(NDArray logits, long[] labels) {
    NDArray numbers = logits.getManager().create(labels, new Shape(labels.length));
    return kernel.run(logits, numbers);
  }
}
