package org.sparkpeft.core.vector;

import java.nio.FloatBuffer;
import java.util.Arrays;

/**
 * Values of all trainable tensors, in the order of a {@link ParameterLayout}. Immutable: arrays are
 * copied in and out.
 */
public final class ParameterVector {
  private final ParameterLayout layout;
  private final float[] values;

  private ParameterVector(ParameterLayout layout, float[] owned) {
    if (owned.length != layout.size()) {
      throw new IllegalArgumentException(
          "layout has " + layout.size() + " entries, values have " + owned.length);
    }
    this.layout = layout;
    this.values = owned;
  }

  /** A vector with a copy of {@code values}. */
  public static ParameterVector of(ParameterLayout layout, float[] values) {
    return new ParameterVector(layout, values.clone());
  }

  /** A vector that takes over {@code values}; the caller must not touch the array again. */
  public static ParameterVector wrap(ParameterLayout layout, float[] values) {
    return new ParameterVector(layout, values);
  }

  public static ParameterVector zeros(ParameterLayout layout) {
    return new ParameterVector(layout, new float[layout.size()]);
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

  /** A copy of one tensor's values, row-major. */
  public float[] tensor(String name) {
    ParameterLayout.Entry entry = layout.entry(name);
    return Arrays.copyOfRange(values, entry.offset(), entry.end());
  }

  /** A read-only view of all values. */
  public FloatBuffer view() {
    return FloatBuffer.wrap(values).asReadOnlyBuffer();
  }

  /** {@code this - reference}: what training changed. */
  public TaskVector minus(ParameterVector reference) {
    requireSameLayout(reference.layout);
    float[] difference = new float[values.length];
    for (int i = 0; i < difference.length; i++) {
      difference[i] = values[i] - reference.values[i];
    }
    return TaskVector.wrap(layout, difference);
  }

  /** {@code this + update}. */
  public ParameterVector plus(TaskVector update) {
    requireSameLayout(update.layout());
    float[] sum = new float[values.length];
    for (int i = 0; i < sum.length; i++) {
      sum[i] = values[i] + update.get(i);
    }
    return new ParameterVector(layout, sum);
  }

  public boolean isFinite() {
    return Floats.allFinite(values);
  }

  private void requireSameLayout(ParameterLayout other) {
    if (!layout.equals(other)) {
      throw new IllegalArgumentException("layouts differ: " + layout + " and " + other);
    }
  }

  /** Equal when the layouts are equal and every value has the same bits. */
  @Override
  public boolean equals(Object other) {
    return other instanceof ParameterVector that
        && layout.equals(that.layout)
        && Floats.sameBits(values, that.values);
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(values);
  }
}
