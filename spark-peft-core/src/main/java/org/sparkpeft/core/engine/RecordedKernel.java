package org.sparkpeft.core.engine;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.pytorch.engine.PtSymbolBlock;
import ai.djl.pytorch.jni.IValueUtils;
import ai.djl.pytorch.jni.JniUtils;

/**
 * Whether a tensor is part of a recorded graph, which DJL tells of leaves alone. Takes some tens of
 * microseconds. Immutable; may be used by several threads.
 */
final class RecordedKernel {
  private static final String SOURCE =
      "  def forward(self: __torch__.Kernel,\n    x: Tensor) -> Tensor:\n"
          + "    recorded = x.requires_grad\n"
          + "    return torch.tensor(recorded, dtype=None, device=None, requires_grad=False)\n";

  private static final class Shared {
    static final PtSymbolBlock BLOCK =
        AttentionKernel.load(NDManager.newBaseManager(Device.cpu(), TorchEngine.NAME), SOURCE);
  }

  private RecordedKernel() {}

  /** Whether the tensor is a leaf that has a gradient, or was computed from one. */
  static boolean isRecorded(NDArray x) {
    JniUtils.setGraphExecutorOptimize(false);
    try (NDArray answer =
        IValueUtils.forward(Shared.BLOCK, new NDList(x), true).singletonOrThrow()) {
      return answer.getBoolean();
    }
  }
}
