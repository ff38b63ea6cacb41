package org.sparkpeft.merge.method;

import java.io.Serializable;

/**
 * What {@link PcbMerging} must know of a whole vector to judge an entry.
 *
 * @param low least magnitude after clamping
 * @param high greatest magnitude after clamping, unless it is below {@code low}
 * @param threshold score that counts as none, as all below it
 * @param most greatest score
 */
record PcbLevels(float low, float high, float threshold, float most) implements Serializable {
  static PcbLevels of(double[] levels) {
    return new PcbLevels(
        (float) levels[0], (float) levels[1], (float) levels[2], (float) levels[3]);
  }

  private float magnitude(float value) {
    return Math.min(Math.max(Math.abs(value), low), Math.max(low, high));
  }

  float clamp(float value) {
    return Math.signum(value) * magnitude(value);
  }

  /**
   * exp(T n^2) tanh(v sum).
   *
   * @param total sum over all vectors at the entry
   * @param vectors T
   */
  float score(float value, double total, int vectors) {
    double n = high > low ? ((double) magnitude(value) - low) / ((double) high - low) : 0;
    return (float) (StrictMath.exp(vectors * n * n) * StrictMath.tanh(value * total));
  }

  /** The score on a scale from 0 at the threshold to 1. */
  double share(float score) {
    return most > threshold
        ? ((double) Math.max(score, threshold) - threshold) / ((double) most - threshold)
        : 0;
  }
}
