package org.sparkpeft.core.engine;

import ai.djl.ndarray.NDArray;
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
    static final ScriptKernel SILU = ScriptKernel.shared(ONE + "    return torch.silu(x)\n");
    static final ScriptKernel COPY =
        ScriptKernel.shared(ONE + "    return torch.clone(x, memory_format=0)\n");
    static final ScriptKernel GELU_TANH =
        ScriptKernel.shared(ONE + "    return torch.gelu(x, approximate=\"tanh\")\n");
    static final ScriptKernel ROTATE =
        ScriptKernel.shared(
            "  def forward(self: __torch__.Kernel,\n    x: Tensor,\n    cos: Tensor,\n"
                + "    sin: Tensor) -> Tensor:\n"
                + "    first, second, = torch.chunk(x, 2, -1)\n"
                + "    swapped = torch.cat([second, first], -1)\n"
                + "    return torch.addcmul(torch.mul(x, cos), swapped, sin, value=1)\n");
    static final ScriptKernel ADD_AT =
        ScriptKernel.shared(
            "  def forward(self: __torch__.Kernel,\n    x: Tensor,\n    places: Tensor,\n"
                + "    values: Tensor) -> Tensor:\n"
                + "    return torch.scatter_add(x, 0, places, values)\n");
    static final Map<Float, ScriptKernel> RMS_NORMS = new ConcurrentHashMap<>();

    /**
     * The square is a product with a constant, once for its value and twice for its derivative,
     * which is then one product.
     */
    static ScriptKernel rmsNorm(float epsilon) {
      return ScriptKernel.shared(
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

  /** A copy, row-major. {@link NDArray#duplicate} is the same to everything but derivatives. */
  public static NDArray copy(NDArray x) {
    return Shared.COPY.run(x);
  }

  /** {@code x sigmoid(x)}. */
  public static NDArray silu(NDArray x) {
    return Shared.SILU.run(x);
  }

  /** {@code x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))}. */
  public static NDArray geluTanh(NDArray x) {
    return Shared.GELU_TANH.run(x);
  }

  /**
   * {@code x / sqrt(mean(x^2) + epsilon) * weight} over the last axis.
   *
   * @param x {@code [..., size]}
   * @param weight {@code [size]}
   */
  public static NDArray rmsNorm(NDArray x, NDArray weight, float epsilon) {
    ScriptKernel block = Shared.RMS_NORMS.computeIfAbsent(epsilon, Shared::rmsNorm);
    return block.run(x, weight);
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
    return Shared.ROTATE.run(x, cos, sin);
  }

  /**
   * A copy of {@code x} with values added to some of its entries.
   *
   * @param x {@code [size]}
   * @param places {@code [k]}, different entries, int64
   * @param values {@code [k]}
   */
  public static NDArray addAt(NDArray x, NDArray places, NDArray values) {
    return Shared.ADD_AT.run(x, places, values);
  }
}
