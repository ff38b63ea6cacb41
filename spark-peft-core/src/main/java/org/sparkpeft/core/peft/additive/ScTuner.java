package org.sparkpeft.core.peft.additive;

/**
 * SC-Tuner (Jiang et al. 2023, SCEdit, arXiv 2312.11392): a tuner on skip connections, {@code O = x
 * + s W_u gelu(W_d x)}. It was made for the long skips of a U-Net; a transformer encoder has the
 * residual connections of its blocks, so it acts on those, at full width unless {@code
 * reduction_factor} says otherwise.
 */
public final class ScTuner extends BottleneckMethod {
  public ScTuner() {
    super("SC_TUNER", Placement.SKIP);
  }

  @Override
  public double usualRate() {
    return 0.3;
  }

  @Override
  public BottleneckConfig defaults() {
    return settings(1, "gelu", 1, 0);
  }
}
