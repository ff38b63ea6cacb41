package org.sparkpeft.core.peft.allocation;

/**
 * Smoothed sensitivity and its uncertainty of a number of things (Zhang et al. 2023, arXiv
 * 2303.10512, equations 9 to 11): {@code m = b1 m + (1 - b1) I}, {@code u = b2 u + (1 - b2) |I -
 * m|} with the new m, score {@code m u}. In float32, as Hugging Face computes them.
 */
final class Importance {
  private final float[] mean;
  private final float[] uncertainty;
  private final float keep1;
  private final float take1;
  private final float keep2;
  private final float take2;

  Importance(int size, double beta1, double beta2) {
    this.mean = new float[size];
    this.uncertainty = new float[size];
    this.keep1 = (float) beta1;
    this.take1 = (float) (1 - beta1);
    this.keep2 = (float) beta2;
    this.take2 = (float) (1 - beta2);
  }

  /** Takes in the sensitivity of one of them in a new update. */
  void add(int index, float sensitivity) {
    mean[index] = keep1 * mean[index] + take1 * sensitivity;
    float distance = Math.abs(sensitivity - mean[index]);
    uncertainty[index] = keep2 * uncertainty[index] + take2 * distance;
  }

  float mean(int index) {
    return mean[index];
  }

  float uncertainty(int index) {
    return uncertainty[index];
  }

  float score(int index) {
    return mean[index] * uncertainty[index];
  }
}
