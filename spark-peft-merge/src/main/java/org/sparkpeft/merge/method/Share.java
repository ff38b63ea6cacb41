package org.sparkpeft.merge.method;

import java.io.Serializable;

/**
 * One vector's part in a merge.
 *
 * @param weight factor; what it means is the method's to say
 * @param density fraction of entries kept, or the probability of keeping one; in (0, 1]
 * @param gamma fraction of largest magnitudes dropped as outliers, in [0, 1); Breadcrumbs only
 * @param epsilon half the width of the window of probabilities; DELLA only
 */
public record Share(double weight, double density, double gamma, double epsilon)
    implements Serializable {
  public Share {
    require(Double.isFinite(weight), "weight must be finite", weight);
    require(density > 0 && density <= 1, "density must be in (0, 1]", density);
    require(gamma >= 0 && gamma < 1, "gamma must be in [0, 1)", gamma);
    require(epsilon >= 0 && epsilon < 1, "epsilon must be in [0, 1)", epsilon);
  }

  /** A weight alone: everything is kept. */
  public static Share of(double weight) {
    return new Share(weight, 1, 0, 0);
  }

  private static void require(boolean ok, String limit, double value) {
    if (!ok) {
      throw new IllegalArgumentException(limit + ", got " + value);
    }
  }
}
