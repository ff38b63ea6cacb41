package org.sparkpeft.core.generate;

import java.util.List;

/** Three networks that read the same texts in step, each with its own cache. */
final class ProxyDecoding implements NextTokens {
  private final NextTokens base;
  private final NextTokens expert;
  private final NextTokens antiExpert;
  private final double alpha;

  /** Takes over the three, which are closed with it. */
  ProxyDecoding(NextTokens base, NextTokens expert, NextTokens antiExpert, double alpha) {
    this.base = base;
    this.expert = expert;
    this.antiExpert = antiExpert;
    this.alpha = alpha;
  }

  @Override
  public float[][] next() {
    float[][] logits = base.next();
    float[][] tuned = expert.next();
    float[][] untuned = antiExpert.next();
    for (int row = 0; row < logits.length; row++) {
      logits[row] = ProxyTuning.combine(logits[row], tuned[row], untuned[row], alpha);
    }
    return logits;
  }

  @Override
  public void go(int[] from, List<int[]> longer) {
    base.go(from, longer);
    expert.go(from, longer);
    antiExpert.go(from, longer);
  }

  @Override
  public void close() {
    try (base;
        expert) {
      antiExpert.close();
    }
  }
}
