package org.sparkpeft.core.peft.additive;

/**
 * Adapters after attention and feed-forward block (Houlsby et al. 2019, arXiv 1902.00751): {@code
 * LN(f + A(f) + x)}. They start as the identity unless told otherwise; the original also trains the
 * norms, which {@code modules_to_save} can name.
 */
public final class Houlsby extends BottleneckMethod {
  public Houlsby() {
    super("HOULSBY", Placement.BOTH_SEQUENTIAL);
  }

  @Override
  public BottleneckConfig defaults() {
    return settings(16, "swish", 1, 0);
  }
}
