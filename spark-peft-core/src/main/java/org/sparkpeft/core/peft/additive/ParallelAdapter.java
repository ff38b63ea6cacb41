package org.sparkpeft.core.peft.additive;

/**
 * The scaled parallel adapter of He et al. (2021, arXiv 2110.04366): {@code LN(f + s A(x) + x)} on
 * the feed-forward block.
 */
public final class ParallelAdapter extends BottleneckMethod {
  public ParallelAdapter() {
    super("PARALLEL_ADAPTER", Placement.FEED_FORWARD_PARALLEL);
  }

  @Override
  public double usualRate() {
    return 0.3;
  }

  @Override
  public BottleneckConfig defaults() {
    return settings(2, "relu", 4, 0);
  }
}
