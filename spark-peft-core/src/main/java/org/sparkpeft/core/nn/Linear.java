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
public record Linear(String path, NDArray weight, @Nullable NDArray bias) {

  /**
   * @param x {@code [..., in]}
   * @return {@code [..., out]}
   */
  public NDArray apply(NDArray x) {
    return of(x, weight, bias);
  }

  /** {@code x Wt + b} with the given tensors; the result belongs to {@code x}'s manager. */
  public static NDArray of(NDArray x, NDArray weight, @Nullable NDArray bias) {
    return x.getNDArrayInternal().linear(x, weight, bias).singletonOrThrow();
  }
}
