package org.sparkpeft.merge.method;

import java.util.Arrays;
import java.util.List;
import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/** Checked arguments of a merge, as arrays for the inner loops. */
final class Inputs {
  private final ParameterLayout layout;
  private final float[][] values;
  private final double[] weights;

  private Inputs(ParameterLayout layout, float[][] values, double[] weights) {
    this.layout = layout;
    this.values = values;
    this.weights = weights;
  }

  static Inputs of(List<TaskVector> vectors, List<Double> weights) {
    if (vectors.isEmpty() || vectors.size() != weights.size()) {
      throw new IllegalArgumentException(
          "a merge needs at least one vector and a weight for each, got "
              + vectors.size()
              + " vectors and "
              + weights.size()
              + " weights");
    }
    ParameterLayout layout = vectors.get(0).layout();
    float[][] values = new float[vectors.size()][];
    double[] factors = new double[vectors.size()];
    for (int t = 0; t < values.length; t++) {
      TaskVector vector = vectors.get(t);
      if (!vector.layout().equals(layout)) {
        throw new IllegalArgumentException(
            "vector " + t + " has " + vector.layout() + ", the first has " + layout);
      }
      factors[t] = weights.get(t);
      if (!Double.isFinite(factors[t]) || !vector.isFinite()) {
        throw new IllegalArgumentException(
            "vector " + t + " or its weight " + factors[t] + " is not finite");
      }
      values[t] = vector.toArray();
    }
    return new Inputs(layout, values, factors);
  }

  /** All values as one block. */
  Block block() {
    Block block = new Block(count(), size()).at(0, size());
    for (int t = 0; t < count(); t++) {
      System.arraycopy(values[t], 0, block.values(t), 0, size());
    }
    return block;
  }

  ParameterLayout layout() {
    return layout;
  }

  int size() {
    return layout.size();
  }

  /** Number of vectors. */
  int count() {
    return values.length;
  }

  float value(int vector, int entry) {
    return values[vector][entry];
  }

  double weight(int vector) {
    return weights[vector];
  }

  /** These inputs with their vectors changed. */
  Inputs mapping(VectorFunction change) {
    float[][] changed = new float[values.length][];
    for (int t = 0; t < values.length; t++) {
      changed[t] = change.apply(t, values[t].clone());
    }
    return new Inputs(layout, changed, weights);
  }

  /** A change to the values of one vector; may work in place. */
  interface VectorFunction {
    float[] apply(int vector, float[] values);
  }

  /** Sum of the first {@code n} terms in ascending order, so independent of how they came. */
  static double sum(double[] terms, int n) {
    if (n > 2) {
      Arrays.sort(terms, 0, n);
    }
    double sum = 0;
    for (int i = 0; i < n; i++) {
      sum += terms[i];
    }
    return sum;
  }
}
