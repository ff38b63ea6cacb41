package org.sparkpeft.core.peft.sparse;

import java.util.Arrays;
import org.sparkpeft.core.peft.StepObserver;

/** Gradients of one matrix's candidates over a window. */
final class Candidates {
  private final int[] indices;
  private final double[] sums;
  private final double[] squares;
  private int count;

  private Candidates(int[] indices) {
    this.indices = indices;
    this.sums = new double[indices.length];
    this.squares = new double[indices.length];
  }

  /** The largest entries of a dense gradient. */
  static Candidates of(float[] gradient, int number) {
    int[] largest = EntrySelection.largest(EntrySelection.magnitudes(gradient), number);
    Arrays.sort(largest);
    return new Candidates(largest);
  }

  void add(float[] gradient) {
    for (int i = 0; i < indices.length; i++) {
      double g = gradient[indices[i]];
      sums[i] += g;
      squares[i] += g * g;
    }
    count++;
  }

  /** The sums in their places, zero elsewhere. */
  float[] dense(int size) {
    float[] dense = new float[size];
    for (int i = 0; i < indices.length; i++) {
      dense[indices[i]] = (float) sums[i];
    }
    return dense;
  }

  /** Gives a new slot the moments of what was watched. */
  void seed(StepObserver.OptimizerMoments moments, int place, int index) {
    int i = Arrays.binarySearch(indices, index);
    moments.seed(place, sums[i] / count, squares[i] / count, count);
  }
}
