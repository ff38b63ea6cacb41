package org.sparkpeft.core.engine;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.pytorch.engine.PtSymbolBlock;
import ai.djl.pytorch.jni.IValueUtils;
import ai.djl.pytorch.jni.JniUtils;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Functions of single entries or rows that read and write a tensor fewer times than the same in
 * separate calls, forward and backward: in a small model these passes over memory take longer than
 * the matrix products. Differentiable; results belong to the first argument's manager. May be used
 * by several threads.
 */
public final class ElementwiseKernels {
  private static final String ONE =
      "  def forward(self: __torch__.Kernel,\n    x: Tensor) -> Tensor:\n";

  private ElementwiseKernels() {}

  /** Hold no tensors, so one of each serves every device; they live as long as the JVM. */
  private static final class Shared {
    static final NDManager MANAGER = NDManager.newBaseManager(Device.cpu(), TorchEngine.NAME);
    static final PtSymbolBlock SILU = load(ONE + "    return torch.silu(x)\n");
    static final PtSymbolBlock GELU_TANH =
        load(ONE + "    return torch.gelu(x, approximate=\"tanh\")\n");
    static final PtSymbolBlock ROTATE =
        load(
            "  def forward(self: __torch__.Kernel,\n    x: Tensor,\n    cos: Tensor,\n"
                + "    sin: Tensor) -> Tensor:\n"
                + "    first, second, = torch.chunk(x, 2, -1)\n"
                + "    swapped = torch.cat([second, first], -1)\n"
                + "    return torch.addcmul(torch.mul(x, cos), swapped, sin, value=1)\n");
    static final PtSymbolBlock ADD_AT =
        load(
            "  def forward(self: __torch__.Kernel,\n    x: Tensor,\n    places: Tensor,\n"
                + "    values: Tensor) -> Tensor:\n"
                + "    return torch.scatter_add(x, 0, places, values)\n");
    static final Map<Float, PtSymbolBlock> RMS_NORMS = new ConcurrentHashMap<>();

    static PtSymbolBlock load(String source) {
      return AttentionKernel.load(MANAGER, source);
    }

    /**
     * The square is a product with a constant, once for its value and twice for its derivative,
     * which is then one product.
     */
    static PtSymbolBlock rmsNorm(float epsilon) {
      return load(
          "  def forward(self: __torch__.Kernel,\n    x: Tensor,\n    weight: Tensor) -> Tensor:\n"
              + "    square = torch.sum(torch.mul(x, torch.detach(x)), [-1], True)\n"
              + "    twice = torch.mul(square, 2)\n"
              + "    exact = torch.sub(twice, torch.detach(square))\n"
              + "    mean = torch.div(exact, torch.size(x, -1))\n"
              + "    scale = torch.rsqrt(torch.add(mean, "
              + Float.toString(epsilon)
              + "))\n"
              + "    return torch.mul(torch.mul(x, scale), weight)\n");
    }
  }

  /** {@code x sigmoid(x)}. */
  public static NDArray silu(NDArray x) {
    return run(Shared.SILU, new NDList(x));
  }

  /** {@code x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))}. */
  public static NDArray geluTanh(NDArray x) {
    return run(Shared.GELU_TANH, new NDList(x));
  }

  /**
   * {@code x / sqrt(mean(x^2) + epsilon) * weight} over the last axis.
   *
   * @param x {@code [..., size]}
   * @param weight {@code [size]}
   */
  public static NDArray rmsNorm(NDArray x, NDArray weight, float epsilon) {
    PtSymbolBlock block = Shared.RMS_NORMS.computeIfAbsent(epsilon, Shared::rmsNorm);
    return run(block, new NDList(x, weight));
  }

  /**
   * Turns entry i of the last axis with entry i + size/2: {@code x cos + swapped(x) sin}, where
   * {@code swapped} exchanges the halves.
   *
   * @param x {@code [batch, seq, heads, size]}
   * @param cos {@code [1 or batch, seq, 1, size]}
   * @param sin shaped as {@code cos}, negative in the first half
   */
  public static NDArray rotate(NDArray x, NDArray cos, NDArray sin) {
    return run(Shared.ROTATE, new NDList(x, cos, sin));
  }

  /**
   * A copy of {@code x} with values added to some of its entries.
   *
   * @param x {@code [size]}
   * @param places {@code [k]}, different entries, int64
   * @param values {@code [k]}
   */
  public static NDArray addAt(NDArray x, NDArray places, NDArray values) {
    return run(Shared.ADD_AT, new NDList(x, places, values));
  }

  private static NDArray run(PtSymbolBlock block, NDList inputs) {
    JniUtils.setGraphExecutorOptimize(false); // the same code, and bits, in every call
    return IValueUtils.forward(block, inputs, true).singletonOrThrow();
  }
}
