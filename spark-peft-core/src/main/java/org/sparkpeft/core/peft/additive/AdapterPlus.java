package org.sparkpeft.core.peft.additive;

/**
 * Adapter+ (Steitz and Roth 2024, arXiv 2406.06820): {@code z + s * A(z)} with {@code z = LN(f +
 * x)} and a trained s for each channel; examples skip it at random in training.
 */
public final class AdapterPlus extends BottleneckMethod {
  public AdapterPlus() {
    super("ADAPTER_PLUS", Placement.FEED_FORWARD_LAST);
  }

  @Override
  public BottleneckConfig defaults() {
    return settings(96, "gelu", 1, 0.1);
  }
}
