package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.Shape;
import java.util.Arrays;
import org.sparkpeft.core.engine.ElementwiseKernels;

/** From the states of all tokens to what a head reads. */
final class Pooling {
  private Pooling() {}

  /**
   * Mean over each example's tokens, without padding and virtual tokens.
   *
   * @param hidden {@code [batch, virtual tokens + seq, hidden]}
   * @return {@code [batch, hidden]}
   */
  static NDArray mean(Pass pass, NDArray hidden, TokenBatch batch) {
    int virtual = pass.virtualTokens();
    int width = virtual + batch.width();
    float[] shares = new float[batch.size() * width];
    for (int row = 0; row < batch.size(); row++) {
      int from = row * width + virtual + batch.start(row);
      Arrays.fill(shares, from, from + batch.length(row), 1f / batch.length(row));
    }
    NDArray weights = pass.step().create(shares, new Shape(batch.size(), 1, width));
    return weights.batchMatMul(hidden).squeeze(1); // [batch, hidden]
  }

  /**
   * The state of each example's last token.
   *
   * @param hidden {@code [batch, virtual tokens + seq, hidden]}
   * @return {@code [batch, hidden]}
   */
  static NDArray last(Pass pass, NDArray hidden, TokenBatch batch) {
    int virtual = pass.virtualTokens();
    int width = virtual + batch.width();
    float[] picked = new float[batch.size() * width];
    for (int row = 0; row < batch.size(); row++) {
      picked[row * width + virtual + batch.start(row) + batch.length(row) - 1] = 1;
    }
    NDArray weights = pass.step().create(picked, new Shape(batch.size(), 1, width));
    return weights.batchMatMul(hidden).squeeze(1); // [batch, hidden]
  }

  /**
   * The states of the first tokens, virtual ones included.
   *
   * @param hidden {@code [batch, virtual tokens + seq, hidden]}
   * @return {@code [batch, count, hidden]}; {@code hidden} itself where there are no more
   */
  static NDArray first(NDArray hidden, int count) {
    if (count >= hidden.getShape().get(1)) {
      return hidden;
    }
    // A copy: products with a view have other bits where nothing is recorded.
    return ElementwiseKernels.copy(hidden.get(new NDIndex(":, :" + count)));
  }

  /** The states of all tokens that have an id, {@code [batch, seq, hidden]}. */
  static NDArray withoutVirtual(Pass pass, NDArray hidden) {
    int virtual = pass.virtualTokens();
    return virtual == 0 ? hidden : hidden.get(new NDIndex(":, " + virtual + ":"));
  }
}
