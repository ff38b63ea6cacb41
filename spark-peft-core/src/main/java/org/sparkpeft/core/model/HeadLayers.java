package org.sparkpeft.core.model;

import ai.djl.ndarray.NDArray;

/** The head's linear layers by path, each seen through the task's tuning. */
final class HeadLayers {
  private final FrozenLayers layers;
  private final Tuning tuning;

  HeadLayers(FrozenLayers layers, Tuning tuning) {
    this.layers = layers;
    this.tuning = tuning;
  }

  NDArray linear(String path, NDArray x) {
    return tuning.linear(layers.linear(path), x);
  }

  NDArray norm(String path, float epsilon, NDArray x) {
    return tuning.layerNorm(layers.layerNorm(path, epsilon), x);
  }
}
