package org.sparkpeft.merge.method;

import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/**
 * Spherical interpolation of two vectors, tensor by tensor: sin((1 - t) a) / sin(a) * first + sin(t
 * a) / sin(a) * second, a being the angle between them. Where they are nearly parallel or opposite
 * (|cos a| above 0.9995), or one is zero, it is linear interpolation.
 *
 * @param t 0 gives the first, 1 the second
 */
public record Slerp(double t) {
  private static final double NEARLY_PARALLEL = 0.9995;

  public Slerp {
    if (!(t >= 0 && t <= 1)) {
      throw new IllegalArgumentException("t must be in [0, 1], got " + t);
    }
  }

  /** Interpolates. */
  public TaskVector merge(TaskVector first, TaskVector second) {
    float[] merged = new float[first.size()];
    if (!first.layout().equals(second.layout())) {
      throw new IllegalArgumentException(
          "layouts differ: " + first.layout() + " and " + second.layout());
    }
    for (ParameterLayout.Entry entry : first.layout().entries()) {
      double cosine = Angles.cosine(first, second, entry);
      double left = 1 - t;
      double right = t;
      if (Math.abs(cosine) <= NEARLY_PARALLEL && Angles.bothNonZero(first, second, entry)) {
        double angle = StrictMath.acos(cosine);
        left = StrictMath.sin((1 - t) * angle) / StrictMath.sin(angle);
        right = StrictMath.sin(t * angle) / StrictMath.sin(angle);
      }
      for (int i = entry.offset(); i < entry.end(); i++) {
        merged[i] = (float) (left * first.get(i) + right * second.get(i));
      }
    }
    return TaskVector.wrap(first.layout(), merged);
  }
}
