package org.sparkpeft.core.model;

import org.sparkpeft.core.nn.Activation;

/**
 * Sizes of a stack of transformer layers.
 *
 * @param layers number of layers
 * @param hidden size of the residual stream
 * @param heads attention heads
 * @param headSize entries of a head; all heads together may differ from {@code hidden}
 * @param intermediate size between the feed-forward layers
 * @param activation function between the feed-forward layers
 * @param epsilon of the layer norms
 * @param queryBias whether the query and value projections have biases
 * @param keyBias whether the key projection has one
 * @param preNorm whether a block normalises its input, rather than the sum of input and output
 */
record BlockConfig(
    int layers,
    int hidden,
    int heads,
    int headSize,
    int intermediate,
    Activation activation,
    float epsilon,
    boolean queryBias,
    boolean keyBias,
    boolean preNorm) {

  /** Size of queries, keys and values. */
  int inner() {
    return Math.multiplyExact(heads, headSize);
  }
}
