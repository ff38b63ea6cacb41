package org.sparkpeft.core.engine;

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

/**
 * Multi-head attention as one fused call, {@code softmax(q kT / sqrt(d) + mask) v} for each head.
 * Its memory grows linearly with the sequence, where separate products and softmax need the square.
 * Differentiable. Immutable; may be used by several threads.
 */
public final class AttentionKernel implements AutoCloseable {
  private final PtSymbolBlock masked;
  private final PtSymbolBlock unmasked;

  /**
   * @param manager owner of the kernel's memory
   * @param heads number of heads
   * @param headSize entries of one head
   */
  public AttentionKernel(NDManager manager, int heads, int headSize) {
    this.masked = load(manager, source(heads, headSize, true));
    this.unmasked = load(manager, source(heads, headSize, false));
  }

  /**
   * @param q queries {@code [batch, seq, heads * headSize]}
   * @param k keys {@code [batch, keys, heads * headSize]}
   * @param v values, shaped as {@code k}
   * @return {@code [batch, seq, heads * headSize]}
   */
  public NDArray apply(NDArray q, NDArray k, NDArray v) {
    return run(unmasked, new NDList(q, k, v));
  }

  /**
   * As {@link #apply(NDArray, NDArray, NDArray)}, with {@code mask}, broadcastable to {@code
   * [batch, heads, seq, keys]}, added to the scores: 0 to attend, a large negative number not to.
   */
  public NDArray apply(NDArray q, NDArray k, NDArray v, NDArray mask) {
    return run(masked, new NDList(q, k, v, mask));
  }

  private static NDArray run(PtSymbolBlock block, NDList inputs) {
    // Per thread: without it the first calls run other code than later ones, with other bits.
    JniUtils.setGraphExecutorOptimize(false);
    return IValueUtils.forward(block, inputs, true).singletonOrThrow();
  }

  private static PtSymbolBlock load(NDManager manager, String source) {
    byte[] archive = TorchScriptArchive.of(source);
    try {
      return JniUtils.loadModule(
          (PtNDManager) manager, new ByteArrayInputStream(archive), false, false);
    } catch (IOException e) {
      throw new UncheckedIOException("cannot happen in memory", e);
    }
  }

  private static String source(int heads, int headSize, boolean withMask) {
    String split = "torch.transpose(torch.view(%s, [torch.size(%s, 0), -1, %d, %d]), 1, 2)";
    return "  def forward(self: __torch__.Kernel,\n    q: Tensor,\n    k: Tensor,\n    v: Tensor"
        + (withMask ? ",\n    mask: Tensor" : "")
        + ") -> Tensor:\n"
        + ("    query = " + split.formatted("q", "q", heads, headSize) + "\n")
        + ("    key = " + split.formatted("k", "k", heads, headSize) + "\n")
        + ("    value = " + split.formatted("v", "v", heads, headSize) + "\n")
        + ("    heads = torch.scaled_dot_product_attention(query, key, value"
            + (withMask ? ", mask" : "")
            + ")\n")
        + "    joined = torch.transpose(heads, 1, 2)\n"
        + ("    return torch.reshape(joined, [torch.size(q, 0), -1, " + heads * headSize + "])\n");
  }

  @Override
  public void close() {
    masked.close();
    unmasked.close();
  }
}
