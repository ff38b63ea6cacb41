package org.sparkpeft.merge.method;

import org.sparkpeft.core.vector.ParameterLayout;
import org.sparkpeft.core.vector.TaskVector;

/** Inner products and angles within one tensor, in double and index order. */
final class Angles {
  private static final double ZERO = 1e-8;

  private Angles() {}

  static double dot(TaskVector a, TaskVector b, ParameterLayout.Entry entry) {
    double sum = 0;
    for (int i = entry.offset(); i < entry.end(); i++) {
      sum += (double) a.get(i) * b.get(i);
    }
    return sum;
  }

  static double norm(TaskVector a, ParameterLayout.Entry entry) {
    return Math.sqrt(dot(a, a, entry));
  }

  /** Whether both norms are above 1e-8. */
  static boolean bothNonZero(TaskVector a, TaskVector b, ParameterLayout.Entry entry) {
    return norm(a, entry) > ZERO && norm(b, entry) > ZERO;
  }

  /** Cosine of the angle, within -1..1; 0 if one is zero. */
  static double cosine(TaskVector a, TaskVector b, ParameterLayout.Entry entry) {
    if (!bothNonZero(a, b, entry)) {
      return 0;
    }
    double cosine = dot(a, b, entry) / (norm(a, entry) * norm(b, entry));
    return Math.max(-1, Math.min(1, cosine));
  }
}
