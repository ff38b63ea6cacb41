package org.sparkpeft.core.peft.allocation;

import java.util.Arrays;

/**
 * Scales what the optimiser does to single entries: at 0 they stay as they are, decay included. A
 * step's size is proportional to the rate, so a factor is one on the rate.
 */
final class StepFactors {
  private final float[] factors;
  private float[] before = new float[0];

  StepFactors(int size) {
    this.factors = new float[size];
    reset();
  }

  /** All factors to 1. */
  void reset() {
    Arrays.fill(factors, 1);
  }

  void set(int index, float factor) {
    factors[index] = factor;
  }

  /** The factors of a stretch. */
  void fill(int from, int to, float factor) {
    Arrays.fill(factors, from, to, factor);
  }

  /** Before the optimiser. */
  void remember(float[] parameters) {
    before = parameters.clone();
  }

  /** After the optimiser. */
  void apply(float[] parameters) {
    for (int i = 0; i < parameters.length; i++) {
      if (factors[i] != 1) {
        parameters[i] = before[i] + factors[i] * (parameters[i] - before[i]);
      }
    }
  }
}
