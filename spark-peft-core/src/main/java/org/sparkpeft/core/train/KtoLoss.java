package org.sparkpeft.core.train;

/**
 * The loss of Kahneman-Tversky optimisation (Ethayarajh et al. 2024, arXiv 2402.01306) of a batch:
 * {@code w (1 - sigmoid(beta (r - z)))} for a desirable completion of log-ratio {@code r}, {@code v
 * (1 - sigmoid(beta (z - r)))} for an undesirable one. The reference point {@code z}, an estimate
 * of the divergence from the reference, is taken as a constant.
 */
final class KtoLoss {
  private KtoLoss() {}

  /**
   * The mean log-ratio of completions of other prompts, at least 0; 0 where there is none.
   *
   * @param sum of the log-ratios
   */
  static double referencePoint(double sum, int count) {
    return count == 0 ? 0 : Math.max(0, sum / count);
  }

  /**
   * What one example costs, and the slope by its log-ratio.
   *
   * @param ratio of policy to reference, of the sums over its tokens
   * @param point the batch's {@link #referencePoint}
   */
  static PairLoss.Value of(double ratio, boolean desirable, double point, PreferenceConfig config) {
    double weight = desirable ? config.desirableWeight() : config.undesirableWeight();
    double sign = desirable ? 1 : -1;
    double wanted = PairLoss.sigmoid(sign * config.beta() * (ratio - point));
    return new PairLoss.Value(
        weight * (1 - wanted), -sign * weight * config.beta() * wanted * (1 - wanted));
  }
}
