package org.sparkpeft.core.nn;

import ai.djl.ndarray.NDArray;
import org.jspecify.annotations.Nullable;

/**
 * Normalisation of each channel over time, which is PyTorch's group norm with a group for each
 * channel: {@code (x - mean) / sqrt(variance + epsilon) * weight + bias}.
 *
 * @param path Hugging Face's path of the module
 * @param weight {@code [channels]}
 * @param bias {@code [channels]}
 * @param epsilon added to the variance
 */
public record TimeNorm(String path, NDArray weight, NDArray bias, float epsilon) implements Norm {

  @Override
  public TimeNorm with(NDArray otherWeight, @Nullable NDArray otherBias) {
    return new TimeNorm(path, otherWeight, otherBias == null ? bias : otherBias, epsilon);
  }

  /**
   * @param x {@code [batch, time, channels]}
   * @return shaped as {@code x}
   */
  @Override
  public NDArray apply(NDArray x) {
    NDArray centred = x.sub(x.mean(new int[] {1}, true));
    NDArray deviation = centred.square().mean(new int[] {1}, true).add(epsilon).sqrt();
    return centred.div(deviation).mul(weight).add(bias);
  }
}
