package org.sparkpeft.core.vector;

import java.nio.FloatBuffer;
import java.util.Arrays;

/**
 * The difference between trained and starting parameters, in the order of a {@link
 * ParameterLayout}: what a client sends, what is compressed, aggregated and merged. Immutable:
 * arrays are copied in and out.
 */
public final class TaskVector {
  private final ParameterLayout layout;
  private final float[] values;

  private TaskVector(ParameterLayout layout, float[] owned) {
    if (owned.length != layout.size()) {
      throw new IllegalArgumentException(
          "layout has " + layout.size() + " entries, values have " + owned.length);
    }
    this.layout = layout;
    this.values = owned;
  }

  /** A vector with a copy of {@code values}. */
  public static TaskVector of(ParameterLayout layout, float[] values) {
    return new TaskVector(layout, values.clone());
  }

  /** A vector that takes over {@code values}; the caller must not touch the array again. */
  public static TaskVector wrap(ParameterLayout layout, float[] values) {
    return new TaskVector(layout, values);
  }

  public static TaskVector zeros(ParameterLayout layout) {
    return new TaskVector(layout, new float[layout.size()]);
  }

  public ParameterLayout layout() {
    return layout;
  }

  public int size() {
    return values.length;
  }

  public float get(int index) {
    return values[index];
  }

  /** A copy of all values. */
  public float[] toArray() {
    return values.clone();
  }

  /** A read-only view of all values. */
  public FloatBuffer view() {
    return FloatBuffer.wrap(values).asReadOnlyBuffer();
  }

  public TaskVector plus(TaskVector other) {
    requireSameLayout(other);
    float[] sum = new float[values.length];
    for (int i = 0; i < sum.length; i++) {
      sum[i] = values[i] + other.values[i];
    }
    return new TaskVector(layout, sum);
  }

  public TaskVector minus(TaskVector other) {
    requireSameLayout(other);
    float[] difference = new float[values.length];
    for (int i = 0; i < difference.length; i++) {
      difference[i] = values[i] - other.values[i];
    }
    return new TaskVector(layout, difference);
  }

  public TaskVector times(float factor) {
    float[] scaled = new float[values.length];
    for (int i = 0; i < scaled.length; i++) {
      scaled[i] = values[i] * factor;
    }
    return new TaskVector(layout, scaled);
  }

  /** Euclidean norm, accumulated in double in index order. */
  public double norm() {
    double sum = 0;
    for (float value : values) {
      sum += (double) value * value;
    }
    return Math.sqrt(sum);
  }

  public boolean isFinite() {
    return Floats.allFinite(values);
  }

  private void requireSameLayout(TaskVector other) {
    if (!layout.equals(other.layout)) {
      throw new IllegalArgumentException("layouts differ: " + layout + " and " + other.layout);
    }
  }

  /** Equal when the layouts are equal and every value has the same bits. */
  @Override
  public boolean equals(Object other) {
    return other instanceof TaskVector that
        && layout.equals(that.layout)
        && Floats.sameBits(values, that.values);
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(values);
  }
}
