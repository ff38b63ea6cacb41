package org.sparkpeft.core.train;

/**
 * Losses of a pair of completions, as functions of their log-probabilities alone. Most are of the
 * form {@code f(x)}, where {@code x} is the chosen completion's log-ratio of policy to reference
 * minus the rejected one's, of sums over tokens or of means per token.
 */
enum PairLoss {
  /** {@code -(1 - e) log sigmoid(beta x) - e log sigmoid(-beta x)}, e the label smoothing. */
  SIGMOID(false) {
    @Override
    Value of(double x, PreferenceConfig config) {
      return smoothed(x, config);
    }
  },

  /** {@link #SIGMOID} on means per token. */
  SIGMOID_NORM(true) {
    @Override
    Value of(double x, PreferenceConfig config) {
      return smoothed(x, config);
    }
  },

  /** {@code max(0, 1 - beta x)}. */
  HINGE(false) {
    @Override
    Value of(double x, PreferenceConfig config) {
      double below = 1 - config.beta() * x;
      return below > 0 ? new Value(below, -config.beta()) : new Value(0, 0);
    }
  },

  /** {@code (-(1 - e) log sigmoid(beta x) + e log sigmoid(-beta x)) / (1 - 2 e)}. */
  ROBUST(false) {
    @Override
    Value of(double x, PreferenceConfig config) {
      double u = config.beta() * x;
      double e = config.labelSmoothing();
      double scale = 1 / (1 - 2 * e);
      return new Value(
          scale * ((1 - e) * softplus(-u) - e * softplus(u)),
          scale * config.beta() * (-(1 - e) * sigmoid(-u) - e * sigmoid(u)));
    }
  },

  /** {@code (x - 1 / (2 beta))^2} on means per token. */
  IPO(true) {
    @Override
    Value of(double x, PreferenceConfig config) {
      return squared(x, config);
    }
  },

  /** {@link #IPO} on sums. */
  IPO_SUM(false) {
    @Override
    Value of(double x, PreferenceConfig config) {
      return squared(x, config);
    }
  },

  /**
   * {@code -mean_w - beta log sigmoid(odds(mean_w) - odds(mean_l))} with {@code odds(m) = m - log(1
   * - exp m)}, on means per token of the policy alone. The first term is of the completion only, as
   * in the paper; TRL's is of the prompt too.
   */
  ORPO(true) {
    @Override
    boolean hasReference() {
      return false;
    }

    @Override
    Value of(double x, PreferenceConfig config) {
      throw new IllegalStateException("is no function of the difference");
    }

    @Override
    Judgement judge(Pair pair, PreferenceConfig config) {
      double chosen = belowCertain(pair.policyChosen() / pair.chosenTokens());
      double rejected = belowCertain(pair.policyRejected() / pair.rejectedTokens());
      double odds = logOdds(chosen) - logOdds(rejected);
      double slope = -config.beta() * sigmoid(-odds);
      return new Judgement(
          -chosen + config.beta() * softplus(-odds),
          (-1 + slope * logOddsSlope(chosen)) / pair.chosenTokens(),
          -slope * logOddsSlope(rejected) / pair.rejectedTokens(),
          config.beta() * chosen,
          config.beta() * rejected);
    }
  };

  /** A mean log-probability this near to 0 has odds that no float can tell from infinite. */
  private static final double CERTAIN = -1e-7;

  private final boolean perToken;

  PairLoss(boolean perToken) {
    this.perToken = perToken;
  }

  /**
   * Sums of the log-probabilities of a pair's completions.
   *
   * @param referenceChosen 0, as {@code referenceRejected}, where there is no reference
   * @param chosenTokens tokens of the completion, the one that ends it included
   */
  record Pair(
      double policyChosen,
      double policyRejected,
      double referenceChosen,
      double referenceRejected,
      int chosenTokens,
      int rejectedTokens) {}

  /**
   * What a pair costs.
   *
   * @param byChosen derivative of the loss by {@link Pair#policyChosen}
   * @param byRejected by {@link Pair#policyRejected}
   * @param chosenReward implicit reward of the chosen completion
   */
  record Judgement(
      double loss,
      double byChosen,
      double byRejected,
      double chosenReward,
      double rejectedReward) {}

  /** A value and its derivative. */
  record Value(double value, double slope) {}

  static PairLoss of(TaskConfig task) {
    return valueOf(task.preference().lossOf(task.task()).toUpperCase(java.util.Locale.ROOT));
  }

  /** Whether it compares the policy with a reference. */
  boolean hasReference() {
    return true;
  }

  /** {@code f(x)}. */
  abstract Value of(double x, PreferenceConfig config);

  /** What a pair costs, with {@link PreferenceConfig#rpoAlpha}'s term. */
  Judgement judge(Pair pair, PreferenceConfig config) {
    double chosen = pair.policyChosen() - pair.referenceChosen();
    double rejected = pair.policyRejected() - pair.referenceRejected();
    double chosenLength = perToken ? pair.chosenTokens() : 1;
    double rejectedLength = perToken ? pair.rejectedTokens() : 1;
    Value value = of(chosen / chosenLength - rejected / rejectedLength, config);
    double likelihood = config.rpoAlpha() / pair.chosenTokens();
    return new Judgement(
        value.value() - likelihood * pair.policyChosen(),
        value.slope() / chosenLength - likelihood,
        -value.slope() / rejectedLength,
        config.beta() * chosen / chosenLength,
        config.beta() * rejected / rejectedLength);
  }

  private static Value smoothed(double x, PreferenceConfig config) {
    double u = config.beta() * x;
    double e = config.labelSmoothing();
    return new Value(
        (1 - e) * softplus(-u) + e * softplus(u),
        config.beta() * (-(1 - e) * sigmoid(-u) + e * sigmoid(u)));
  }

  private static Value squared(double x, PreferenceConfig config) {
    double off = x - 1 / (2 * config.beta());
    return new Value(off * off, 2 * off);
  }

  private static double belowCertain(double mean) {
    return Math.min(mean, CERTAIN);
  }

  private static double logOdds(double mean) {
    return mean - Math.log(-Math.expm1(mean));
  }

  private static double logOddsSlope(double mean) {
    return -1 / Math.expm1(mean);
  }

  static double sigmoid(double u) {
    return u >= 0 ? 1 / (1 + Math.exp(-u)) : Math.exp(u) / (1 + Math.exp(u));
  }

  /** {@code log(1 + exp u)}. */
  static double softplus(double u) {
    return Math.max(u, 0) + Math.log1p(Math.exp(-Math.abs(u)));
  }
}
