package org.sparkpeft.core.peft.additive;

/**
 * One adapter a layer (Pfeiffer et al. 2021, arXiv 2005.00247): {@code z = LN(f + x)}, then {@code
 * LN(f + A(z) + x)} with the same norm.
 */
public final class Pfeiffer extends BottleneckMethod {
  public Pfeiffer() {
    super("PFEIFFER", Placement.FEED_FORWARD_AFTER_NORM);
  }

  @Override
  public BottleneckConfig defaults() {
    return settings(16, "relu", 1, 0);
  }
}
