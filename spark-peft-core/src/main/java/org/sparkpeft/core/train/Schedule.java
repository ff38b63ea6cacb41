package org.sparkpeft.core.train;

import java.util.Arrays;

/** Learning-rate profiles: the factor on the peak rate at a progress in [0, 1]. */
enum Schedule {
  CONSTANT("constant"),
  LINEAR("linear"),
  COSINE("cosine"),
  REX("rex");

  private final String configName;

  Schedule(String configName) {
    this.configName = configName;
  }

  static Schedule named(String name) {
    return Arrays.stream(values())
        .filter(s -> s.configName.equals(name))
        .findFirst()
        .orElseThrow(() -> new IllegalArgumentException("no schedule named " + name));
  }

  /**
   * The factor for an update that moves progress from {@code start} to {@code end}. While warming
   * up it is {@code end / warmup}, so that the first update already learns; the profile then runs
   * over the rest.
   *
   * @param warmup fraction of the whole spent rising, in [0, 1)
   */
  double factor(double start, double end, double warmup) {
    if (start < warmup) {
      return Math.min(1, end / warmup);
    }
    return profile((start - warmup) / (1 - warmup));
  }

  /** REX is {@code (1-s) / (1/2 + (1-s)/2)} (Chen et al. 2021, arXiv 2107.04197). */
  private double profile(double s) {
    return switch (this) {
      case CONSTANT -> 1;
      case LINEAR -> 1 - s;
      case COSINE -> 0.5 * (1 + StrictMath.cos(Math.PI * s));
      case REX -> (1 - s) / (0.5 + 0.5 * (1 - s));
    };
  }
}
