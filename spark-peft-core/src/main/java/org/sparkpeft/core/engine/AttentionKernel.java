package org.sparkpeft.core.engine;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.Collections;

/**
 * Multi-head attention as one fused call, {@code softmax(q kT / sqrt(d) + mask) v} for each head.
 * Its memory grows linearly with the sequence, where separate products and softmax need the square.
 * Differentiable. Immutable; may be used by several threads.
 */
public final class AttentionKernel implements AutoCloseable {
  private final ScriptKernel masked;
  private final ScriptKernel unmasked;
  private final ScriptKernel causal;

  /**
   * Form of an attention.
   *
   * @param heads number of query heads
   * @param keyHeads number of key and value heads; divides {@code heads}, and each serves so many
   *     query heads in a row
   * @param headSize entries of one head
   * @param scale factor of the scores; usually 1 / sqrt(headSize)
   * @param softCap scores become {@code softCap tanh(score / softCap)}; 0 for none
   */
  public record Form(int heads, int keyHeads, int headSize, double scale, double softCap) {
    /** As many key heads as query heads, scores divided by {@code sqrt(headSize)}. */
    public static Form of(int heads, int headSize) {
      return of(heads, heads, headSize);
    }

    public static Form of(int heads, int keyHeads, int headSize) {
      return new Form(heads, keyHeads, headSize, 1 / Math.sqrt(headSize), 0);
    }
  }

  /**
   * @param manager owner of the kernel's memory
   * @param heads number of heads
   * @param headSize entries of one head
   */
  public AttentionKernel(NDManager manager, int heads, int headSize) {
    this(manager, Form.of(heads, headSize));
  }

  /**
   * @param manager owner of the kernel's memory
   */
  public AttentionKernel(NDManager manager, Form form) {
    this.masked = new ScriptKernel(manager, source(form, Mask.GIVEN));
    this.unmasked = new ScriptKernel(manager, source(form, Mask.NONE));
    this.causal = new ScriptKernel(manager, source(form, Mask.CAUSAL));
  }

  /**
   * @param q queries {@code [batch, seq, heads * headSize]}
   * @param k keys {@code [batch, keys, keyHeads * headSize]}
   * @param v values, shaped as {@code k}
   * @return {@code [batch, seq, heads * headSize]}
   */
  public NDArray apply(NDArray q, NDArray k, NDArray v) {
    return unmasked.run(q, k, v);
  }

  /**
   * As {@link #apply(NDArray, NDArray, NDArray)}, with {@code mask}, broadcastable to {@code
   * [batch, heads, seq, keys]}, added to the scores: 0 to attend, a large negative number not to.
   */
  public NDArray apply(NDArray q, NDArray k, NDArray v, NDArray mask) {
    return masked.run(q, k, v, mask);
  }

  /** Each query attends to the keys up to its own place; there are as many keys as queries. */
  public NDArray causal(NDArray q, NDArray k, NDArray v) {
    return causal.run(q, k, v);
  }

  private enum Mask {
    NONE,
    GIVEN,
    CAUSAL
  }

  private static String source(Form form, Mask mask) {
    String split = "torch.transpose(torch.view(q, [torch.size(q, 0), -1, %d, %d]), 1, 2)";
    int size = form.headSize();
    StringBuilder code = new StringBuilder();
    code.append("  def forward(self: __torch__.Kernel,\n    q: Tensor,\n    k: Tensor,\n")
        .append("    v: Tensor")
        .append(mask == Mask.GIVEN ? ",\n    mask: Tensor" : "")
        .append(") -> Tensor:\n");
    line(code, "query = " + split.formatted(form.heads(), size));
    line(code, "key = " + shared("k", form));
    line(code, "value = " + shared("v", form));
    if (form.softCap() == 0) {
      boolean usual = form.scale() == 1 / Math.sqrt(size);
      line(
          code,
          "heads = torch.scaled_dot_product_attention(query, key, value"
              + switch (mask) {
                case NONE -> usual ? "" : ", None, 0., False";
                case GIVEN -> usual ? ", mask" : ", mask, 0., False";
                case CAUSAL -> ", None, 0., True";
              }
              + (usual ? "" : ", scale=" + form.scale())
              + ")");
    } else {
      String cap = Double.toString(form.softCap());
      line(
          code,
          "raw = torch.mul(torch.matmul(query, torch.transpose(key, 2, 3)), %s)"
              .formatted(Double.toString(form.scale())));
      line(code, "scores = torch.mul(torch.tanh(torch.div(raw, %s)), %s)".formatted(cap, cap));
      if (mask == Mask.CAUSAL) {
        line(code, "ones = torch.ones_like(scores, dtype=11)");
        line(code, "seen = torch.tril(ones)");
        line(
            code,
            "scores0 = torch.masked_fill(scores, torch.logical_not(seen), -3.4028234663852886e38)");
      } else {
        line(code, "scores0 = " + (mask == Mask.GIVEN ? "torch.add(scores, mask)" : "scores"));
      }
      line(code, "heads = torch.matmul(torch.softmax(scores0, -1), value)");
    }
    line(code, "joined = torch.transpose(heads, 1, 2)");
    code.append("    return torch.reshape(joined, [torch.size(q, 0), -1, ")
        .append(form.heads() * size)
        .append("])\n");
    return code.toString();
  }

  private static void line(StringBuilder code, String statement) {
    code.append("    ").append(statement).append('\n');
  }

  /**
   * The heads of {@code k} or {@code v}, each repeated for the query heads it serves: by stacking,
   * whose derivative adds whole tensors, where that of repeating sums over a dimension inside.
   */
  private static String shared(String name, Form form) {
    int times = form.heads() / form.keyHeads();
    String sizes = "[torch.size(%s, 0), -1, %d, %d]";
    String heads =
        "torch.view(%s, %s)"
            .formatted(name, sizes.formatted(name, form.keyHeads(), form.headSize()));
    if (times > 1) {
      String copies = String.join(", ", Collections.nCopies(times, heads));
      heads =
          "torch.reshape(torch.stack([%s], 3), %s)"
              .formatted(copies, sizes.formatted(name, form.heads(), form.headSize()));
    }
    return "torch.transpose(%s, 1, 2)".formatted(heads);
  }

  @Override
  public void close() {
    masked.close();
    unmasked.close();
    causal.close();
  }
}
