package org.sparkpeft.core.nn;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.types.Shape;
import org.jspecify.annotations.Nullable;

/**
 * Normalisation over the last axis: {@code (x - mean) / sqrt(variance + epsilon) * weight + bias}.
 *
 * @param path Hugging Face's path of the module
 * @param weight {@code [size]}
 * @param bias {@code [size]}
 * @param epsilon added to the variance
 */
public record LayerNorm(String path, NDArray weight, NDArray bias, float epsilon) implements Norm {

  @Override
  public LayerNorm with(NDArray otherWeight, @Nullable NDArray otherBias) {
    return new LayerNorm(path, otherWeight, otherBias == null ? bias : otherBias, epsilon);
  }

  /**
   * @param x {@code [..., size]}
   * @return shaped as {@code x}
   */
  @Override
  public NDArray apply(NDArray x) {
    return of(x, weight, bias, epsilon);
  }

  /** The normalisation with the given tensors; the result belongs to {@code x}'s manager. */
  public static NDArray of(NDArray x, NDArray weight, NDArray bias, float epsilon) {
    Shape last = weight.getShape();
    return x.getNDArrayInternal().layerNorm(x, last, weight, bias, epsilon).singletonOrThrow();
  }
}
