package org.sparkpeft.core.nn;

import ai.djl.ndarray.NDArray;
import org.jspecify.annotations.Nullable;
import org.sparkpeft.core.engine.ElementwiseKernels;

/**
 * Normalisation by the root mean square (Zhang and Sennrich 2019, arXiv 1910.07467): {@code x /
 * sqrt(mean(x^2) + epsilon) * (offset + weight)}.
 *
 * @param path Hugging Face's path of the module
 * @param weight {@code [size]}
 * @param epsilon added to the mean square
 * @param offset 0, or 1 in Gemma, whose weights count from one
 */
public record RmsNorm(String path, NDArray weight, float epsilon, float offset) implements Norm {

  @Override
  public @Nullable NDArray bias() {
    return null;
  }

  @Override
  public RmsNorm with(NDArray other, @Nullable NDArray bias) {
    return new RmsNorm(path, other, epsilon, offset);
  }

  @Override
  public NDArray apply(NDArray x) {
    return ElementwiseKernels.rmsNorm(x, offset == 0 ? weight : weight.add(offset), epsilon);
  }
}
