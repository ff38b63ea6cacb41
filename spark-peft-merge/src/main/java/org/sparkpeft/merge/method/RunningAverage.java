package org.sparkpeft.merge.method;

import org.sparkpeft.core.vector.ParameterVector;

/**
 * The average of a trajectory of parameters, kept as training goes on: exponential (EMA) with
 * average = decay * average + (1 - decay) * new, or stochastic weight averaging (SWA, Izmailov et
 * al., 2018), the plain mean of all. Kept in double, so that a decay near 1 loses nothing to
 * rounding. Immutable: adding gives a new average.
 */
public final class RunningAverage {
  private final ParameterVector first;
  private final double[] average;
  private final long count;
  private final double decay;

  private RunningAverage(ParameterVector first, double[] average, long count, double decay) {
    this.first = first;
    this.average = average;
    this.count = count;
    this.decay = decay;
  }

  /**
   * Starts an exponential average.
   *
   * @param decay in [0, 1), often 0.99..0.9999
   */
  public static RunningAverage exponential(ParameterVector first, double decay) {
    if (!(decay >= 0 && decay < 1)) {
      throw new IllegalArgumentException("decay must be in [0, 1), got " + decay);
    }
    return new RunningAverage(first, widen(first), 1, decay);
  }

  /** Starts a plain mean. */
  public static RunningAverage uniform(ParameterVector first) {
    return new RunningAverage(first, widen(first), 1, -1);
  }

  private static double[] widen(ParameterVector vector) {
    double[] values = new double[vector.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = vector.get(i);
    }
    return values;
  }

  /** The average with one more point of the trajectory. */
  public RunningAverage plus(ParameterVector next) {
    if (!next.layout().equals(first.layout())) {
      throw new IllegalArgumentException(
          "layouts differ: " + first.layout() + " and " + next.layout());
    }
    double share = decay < 0 ? 1.0 / (count + 1) : 1 - decay;
    double[] moved = average.clone();
    for (int i = 0; i < moved.length; i++) {
      moved[i] += share * (next.get(i) - moved[i]);
    }
    return new RunningAverage(first, moved, count + 1, decay);
  }

  /** How many points went in. */
  public long count() {
    return count;
  }

  /** The average so far. */
  public ParameterVector result() {
    float[] values = new float[average.length];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) average[i];
    }
    return ParameterVector.wrap(first.layout(), values);
  }
}
