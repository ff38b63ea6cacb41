package org.sparkpeft.core.nn;

import ai.djl.ndarray.NDArray;
import org.jspecify.annotations.Nullable;

/**
 * {@code y = x Wt + b}.
 *
 * @param path Hugging Face's path of the module, for example {@code
 *     bert.encoder.layer.0.attention.self.query}
 * @param weight {@code [out, in]}
 * @param bias {@code [out]}, or null where the layer has none
 */
public record Linear(String path, Weight weight, @Nullable NDArray bias) {

  /** With a weight in float32. */
  public Linear(String path, NDArray weight, @Nullable NDArray bias) {
    this(path, Weight.of(weight), bias);
  }

  /**
   * @param x {@code [..., in]}
   * @return {@code [..., out]}
   */
  public NDArray apply(NDArray x) {
    return weight.apply(x, bias);
  }

  /** The same layer with another bias. */
  public Linear withBias(@Nullable NDArray other) {
    return new Linear(path, weight, other);
  }

  /** {@code x Wt + b} with the given tensors; the result belongs to {@code x}'s manager. */
  public static NDArray of(NDArray x, NDArray weight, @Nullable NDArray bias) {
    return x.getNDArrayInternal().linear(x, weight, bias).singletonOrThrow();
  }
}
