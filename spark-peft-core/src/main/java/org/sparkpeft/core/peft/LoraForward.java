package org.sparkpeft.core.peft;

import ai.djl.ndarray.NDArray;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.engine.Scalars;
import org.sparkpeft.core.nn.Embedding;
import org.sparkpeft.core.nn.Linear;

/**
 * What one adapted module computes in one step.
 *
 * @param a {@code [r, in]}
 * @param b {@code [out, r]}
 * @param biasOfB {@code [out]}
 * @param magnitude DoRA's m, {@code [out]}
 * @param bias trained bias of the base, {@code [out]}
 * @param startA {@code [r, in]} of the part taken from the base
 * @param startB {@code [out, r]} of it, negated
 * @param dropout of the adapter's input
 */
record LoraForward(
    LoraSite site,
    NDArray a,
    NDArray b,
    @Nullable NDArray biasOfB,
    @Nullable NDArray magnitude,
    @Nullable NDArray bias,
    @Nullable NDArray startA,
    @Nullable NDArray startB,
    @Nullable UnaryOperator<NDArray> dropout) {

  NDArray linear(Modification.LinearForward below, Linear layer, NDArray x) {
    NDArray baseBias = bias == null ? layer.bias() : bias;
    NDArray dropped = dropout == null ? x : dropout.apply(x);
    if (magnitude == null) {
      NDArray y = below.apply(bias == null ? layer : layer.withBias(bias), x);
      return withoutStart(y, x).addi(change(dropped));
    }
    Linear plain = layer.withBias(null);
    NDArray base = withoutStart(below.apply(plain, x), x);
    NDArray scale = magnitude.div(lengths(layer.weight().full(x.getManager()), false));
    NDArray y;
    if (dropout == null) {
      y = base.add(change(x)).mul(scale);
    } else { // as Hugging Face has it: only what DoRA adds sees the dropped input
      NDArray again = withoutStart(below.apply(plain, dropped), dropped);
      y = base.sub(again).add(again.add(change(dropped)).mul(scale));
    }
    return baseBias == null ? y : y.add(baseBias);
  }

  NDArray embedding(Modification.EmbeddingForward below, Embedding layer, NDArray ids) {
    NDArray low = Scalars.times(Embedding.of(ids, a.transpose()), site.scale());
    NDArray y = below.apply(layer, ids).addi(Linear.of(low, b, null)); // [batch, seq, size]
    if (magnitude == null) {
      return y;
    }
    return y.mul(magnitude.div(lengths(layer.weight().full(ids.getManager()), true)));
  }

  /** {@code s (B A x + bias)}. */
  private NDArray change(NDArray x) {
    NDArray low = Scalars.times(Linear.of(x, a, null), site.scale()); // [..., r]
    return Linear.of(low, b, biasOfB == null ? null : Scalars.times(biasOfB, site.scale()));
  }

  private NDArray withoutStart(NDArray y, NDArray x) {
    if (startA == null || startB == null) {
      return y;
    }
    NDArray low = Scalars.times(Linear.of(x, startA, null), site.scale());
    return y.addi(Linear.of(low, startB, null));
  }

  /**
   * {@code |W + s B A|} of each output, {@code [out]}; a constant to the backward pass (DoRA,
   * section 4.3).
   */
  private NDArray lengths(NDArray weight, boolean table) {
    NDArray left = b.stopGradient();
    NDArray right = a.stopGradient();
    if (startA != null && startB != null) {
      left = left.concat(startB, 1);
      right = right.concat(startA, 0);
    }
    NDArray product = Scalars.times(left.matMul(right), site.scale()); // [out, in]
    NDArray changed = product.addi(table ? weight.transpose() : weight);
    return changed.square().sum(new int[] {1}).sqrt();
  }
}
